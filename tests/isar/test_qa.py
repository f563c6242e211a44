# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What recipes build is tried on the template before an image is made."""

import os
import xml.etree.ElementTree as ElementTree

RECIPE = "product-app"
# its script notes there what it saw, and nothing removes that
LEFT = "/var/lib/product-app"


def qa(consumer, value, more="", recipe=RECIPE):
    """Try the packages of a recipe; returns whether that succeeded."""
    with consumer.configured(f'TEMPLATE_QA = "{value}"\n{more}'):
        return consumer.build(recipe, check=False)


def told(consumer, level):
    return [line for line in consumer.output.splitlines() if line.startswith(level) and LEFT in line]


def test_what_a_package_leaves_behind_is_told(consumer):
    assert qa(consumer, "warn"), consumer.errors()
    assert any("file-left" in line for line in told(consumer, "WARNING:"))
    suites = ElementTree.parse(os.path.join(consumer.work(RECIPE), "template-qa.xml"))
    assert [case for case in suites.iter("testcase") if case.find("failure") is not None]
    # everything that it was built with is as it was
    assert (f"{RECIPE}_1.0.bb", "do_dpkg_build") not in consumer.tasks()


def test_it_stops_the_build_where_that_is_wanted(consumer):
    assert not qa(consumer, "error")
    assert told(consumer, "ERROR:")
    assert "TEMPLATE_QA_ALLOW" in consumer.output


def test_what_is_allowed_with_a_reason_passes(consumer):
    path = os.path.join(consumer.path, "qa-allow.txt")
    with open(path, "w", encoding="utf-8") as file:
        for kind in ("file-left", "not-idempotent"):
            file.write(f"{RECIPE} {kind} {LEFT}** # notes for other tests\n")
    assert qa(consumer, "error", f'TEMPLATE_QA_ALLOW = "{path}"'), consumer.errors()
    assert not told(consumer, "WARNING:")


def test_packages_of_the_template_are_not_tried_again(consumer):
    assert qa(consumer, "error", recipe="platform-tool"), consumer.errors()
    assert "is the template's" in consumer.task_log("platform-tool", "do_template_qa")


def test_an_image_waits_for_it(consumer):
    with consumer.configured('TEMPLATE_QA = "error"'):
        consumer.bitbake(f"-n mc:{consumer.multiconfig}:product-image")
    order = consumer.tasks()
    tried = order.index((f"{RECIPE}_1.0.bb", "do_template_qa"))
    for task in ("do_image_tools", "do_image_wic"):
        assert tried < order.index(("product-image.bb", task)), task


def test_without_it_there_is_no_such_task(consumer):
    assert "do_template_qa" not in {task for _, task in consumer.tasks(consumer.made)}
