# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What happens between reading the configuration and parsing recipes, and when a build begins."""

import contextlib

from . import anchor_check, anchors, bundle, layers, origin, settings, siggen, sstate, verified

# the multiconfigs that cannot be built together with this one
CONFLICTS = "TEMPLATE_CONFLICTS"


class ConfigurationError(Exception):
    """The template does not suit the configuration, or is not to be trusted."""


def prepare(configurations, default, fetch):
    """Verify the templates of all configurations, compare anchors, and pin what is pinned.

    `configurations` are data stores by multiconfig, `default` is the one that bitbake takes its
    signature generator and the list of mirrors from.
    """
    consuming = {multiconfig: d for multiconfig, d in configurations.items() if settings.consumes(d)}
    if not consuming:
        return
    _find_conflicts(configurations)
    described = layers.describe_layers(default)
    pinned, differing = {}, {}
    for multiconfig, d in consuming.items():
        for variant in ("target", "host"):
            d.setVar(f"PREFERRED_PROVIDER_bootstrap-{variant}", f"template-bootstrap-{variant}")
        with _errors_of(multiconfig):
            manifest = verified.ensure(d, fetch)
        found = anchor_check.compare(
            manifest.get("anchors") or {}, anchors.describe_origin(d, described)
        )
        if found:
            differing[multiconfig] = (d, manifest, found)
        pinned[multiconfig] = siggen.pins(manifest)
    _stop_where_none_fits(consuming, differing)
    _add_mirrors(default, consuming.values())
    default.setVar(siggen.VARIABLE, siggen.encode(pinned))
    default.setVar("BB_SIGNATURE_HANDLER", siggen.install(default.getVar("BB_SIGNATURE_HANDLER")))


def _find_conflicts(configurations):
    """Note which configurations would work on other templates in the same folders.

    Isar's folders of packages and their repository are those of a distribution and an architecture.
    """
    for multiconfig, d in configurations.items():
        others = [
            name or "default"
            for name, other in configurations.items()
            if _folders(other) == _folders(d) and _base(other) != _base(d)
        ]
        d.setVar(CONFLICTS, " ".join(others))


def _folders(d):
    return [d.getVar(name) for name in ("TMPDIR", "DISTRO", "DISTRO_ARCH")]


def _base(d):
    return d.getVar("TEMPLATE_PIN") if settings.consumes(d) else d.getVar("TEMPLATE_MODE")


def _stop_where_none_fits(consuming, differing):
    """Stop when no configuration can be built; whether one that is can be is seen when a build begins.

    A setting for all multiconfigs reaches those that nobody builds, such as the default one.
    """
    refused = {
        multiconfig: (len(found), anchor_check.refusal(manifest, found))
        for multiconfig, (d, manifest, found) in differing.items()
        if d.getVar("TEMPLATE_ANCHOR") != anchor_check.WARN
    }
    if len(refused) == len(consuming):
        multiconfig = min(refused, key=lambda name: refused[name][0])
        raise ConfigurationError(_where(multiconfig, refused[multiconfig][1]))


def _add_mirrors(default, configurations):
    """Have bitbake find the shared state of all templates: it looks where the default configuration says."""
    mirrors = default.getVar("SSTATE_MIRRORS") or ""
    for d in configurations:
        entry = sstate.mirror(d)
        if entry not in mirrors:
            mirrors += f" {entry}"
    default.setVar("SSTATE_MIRRORS", mirrors.strip())


def begin_build(d, targets, fetch, warn):
    """What a build of `targets` ('[mc:NAME:]RECIPE:TASK') needs before its first task is looked at."""
    if settings.produces(d):
        origin.write(d)
    if not settings.consumes(d):
        return
    multiconfig = d.getVar("BB_CURRENT_MC") or "default"
    built = _multiconfigs_of(targets)
    if multiconfig not in built:
        return
    conflicts = built & set((d.getVar(CONFLICTS) or "").split())
    if conflicts:
        raise ConfigurationError(
            f"multiconfigs {multiconfig} and {' '.join(sorted(conflicts))} are built from different templates in "
            f"one TMPDIR\nto build them together, give each one of its own in conf/multiconfig/{multiconfig}.conf: "
            f'TMPDIR = "${{TOPDIR}}/tmp-{multiconfig}"'
        )
    with _errors_of(multiconfig):
        manifest = verified.ensure(d, fetch)
        found = anchor_check.compare(manifest.get("anchors") or {}, anchors.describe_origin(d))
        if found and d.getVar("TEMPLATE_ANCHOR") != anchor_check.WARN:
            raise ConfigurationError(str(anchor_check.refusal(manifest, found)))
        if found:
            warn(anchor_check.describe(manifest, found))
        sstate.take(d, manifest, fetch)


def _multiconfigs_of(targets):
    """The multiconfigs that are built; bitbake names a target of one a second time, without it."""
    named = [target.split(":", 2)[1:] for target in targets if target.startswith("mc:")]
    again = [target for _, target in named]
    plain = [target for target in targets if not target.startswith("mc:") and target not in again]
    return {multiconfig for multiconfig, _ in named} | ({"default"} if plain else set())


@contextlib.contextmanager
def _errors_of(multiconfig):
    try:
        yield
    except (verified.VerifyError, bundle.BundleError, OSError) as error:
        raise ConfigurationError(_where(multiconfig, error)) from None


def _where(multiconfig, error):
    return f"multiconfig '{multiconfig}': {error}" if multiconfig else str(error)
