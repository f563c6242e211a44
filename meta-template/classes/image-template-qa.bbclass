# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Tries what recipes build on the template, before an image is made: where TEMPLATE_QA is 'warn' or
# 'error', in the modes 'consume' and 'derive'.

TEMPLATE_QA_REPORT = "${WORKDIR}/template-qa.xml"
# what was built, as it was then: others deploy meanwhile
TEMPLATE_QA_APT = "${WORKDIR}/template-qa-apt"

python () {
    from imagetemplate import apt_files, qa, settings
    try:
        settings.check_qa(d)
    except settings.SettingsError as error:
        bb.fatal(f"{d.getVar('PN')}: {error}")
    if d.getVar('TEMPLATE_QA') == d.getVar('TEMPLATE_CONFIGURED_QA') == 'off':
        return
    if bb.data.inherits_class('image', d):
        d.appendVarFlag('do_image_tools', 'deptask', ' do_template_qa')
        d.appendVarFlag('do_image_tools', 'rdeptask', ' do_template_qa')
    elif bb.data.inherits_class('dpkg-base', d):
        # after it is deployed: what is built on it shall not depend on whether it was tried; and also where
        # it is off, so that images get by it to what else is to be tried
        bb.build.addtask('do_template_qa', 'do_build', 'do_deploy_deb', d)
        try:
            apt_files.watch(d, 'do_template_qa')
        except apt_files.AptFilesError as error:
            bb.fatal(f"{d.getVar('PN')}: {error}")
}

do_template_qa[depends] = "template-import:do_template_import"
do_template_qa[deptask] = "do_template_qa"
do_template_qa[rdeptask] = "do_deploy_deb do_template_qa"
do_template_qa[vardeps] += "TEMPLATE_PIN TEMPLATE_ALLOW_UPGRADE TEMPLATE_ALLOW_SUITE"
do_template_qa[file-checksums] += "${LAYERDIR_template}/lib/imagetemplate/qa.py:True ${@d.getVar('TEMPLATE_QA_ALLOW') and '${TEMPLATE_QA_ALLOW}:True' or ''}"
do_template_qa[network] = "${TASK_USE_NETWORK_AND_SUDO}"
do_template_qa[doc] = "Installs, removes and purges the packages of a recipe on the template, and tells what is wrong with them"
python do_template_qa() {
    from imagetemplate import consume, helper, qa
    if not qa.is_on(d):
        return
    lock = bb.utils.lockfile(d.expand('${REPO_ISAR_DIR}/isar.lock'))
    try:
        qa.copy_repository(d)
    finally:
        bb.utils.unlockfile(lock)
    try:
        found = qa.check(d, bb.progress.ProgressHandler(d).update)
    except (consume.ConsumeError, helper.HelperError) as error:
        bb.fatal(str(error))
    tell = bb.error if d.getVar('TEMPLATE_QA') == 'error' else bb.warn
    for line in found:
        tell(line)
    if found and d.getVar('TEMPLATE_QA') == 'error':
        bb.fatal("packages do not pass: mend them, or allow it in TEMPLATE_QA_ALLOW, with the reason")
}
