# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Which template a configuration builds on, and where what comes from it is: for all recipes, in
# mode 'consume'.

# the digest alone decides what is built; where the bundle came from and where it is kept do not
TEMPLATE_PIN = "${@template_pin(d)}"
TEMPLATE_PIN[vardepvalue] = "${TEMPLATE_PIN}"

def template_pin(d):
    from imagetemplate import bundle, consume
    try:
        return consume.pin(d)
    except bundle.BundleError as error:
        bb.fatal('TEMPLATE_SOURCE: %s' % error)

# Enough of the digest to tell releases apart. Isar's own build chroot and bootstrap, and those of
# other releases, stay where they are: their tasks do not run again when the mode changes back.
TEMPLATE_PLACE = "-template-${@d.getVar('TEMPLATE_PIN').split(':')[1][:12]}"

SCHROOT_TARGET_DIR .= "${TEMPLATE_PLACE}"
SCHROOT_HOST_DIR .= "${TEMPLATE_PLACE}"
DEPLOY_DIR_BOOTSTRAP .= "${TEMPLATE_PLACE}"

# To hashes these are the values that Isar has. SCHROOT_DIR is made of one of them, unexpanded.
SCHROOT_TARGET_DIR[vardepsexclude] += "TEMPLATE_PLACE"
SCHROOT_TARGET_DIR[vardepvalueexclude] = "${TEMPLATE_PLACE}"
SCHROOT_HOST_DIR[vardepsexclude] += "TEMPLATE_PLACE"
SCHROOT_HOST_DIR[vardepvalueexclude] = "${TEMPLATE_PLACE}"
SCHROOT_DIR[vardepsexclude] += "TEMPLATE_PLACE"
SCHROOT_DIR[vardepvalueexclude] = "${TEMPLATE_PLACE}"
DEPLOY_DIR_BOOTSTRAP[vardepsexclude] += "TEMPLATE_PLACE"
DEPLOY_DIR_BOOTSTRAP[vardepvalueexclude] = "${TEMPLATE_PLACE}"

# what the import found, for the tasks that follow it
TEMPLATE_IMPORTED = "${TMPDIR}/template/${DISTRO}-${DISTRO_ARCH}${TEMPLATE_PLACE}.json"
TEMPLATE_IMPORTED[vardepvalue] = ""

# what was found out before anything was parsed, and what was taken out of the bundle before a build
TEMPLATE_VERIFIED = "${TMPDIR}/template/verified${TEMPLATE_PLACE}.json"
TEMPLATE_VERIFIED[vardepvalue] = ""
TEMPLATE_SSTATE_DIR = "${TMPDIR}/template/sstate${TEMPLATE_PLACE}"
TEMPLATE_SSTATE_DIR[vardepvalue] = ""

SSTATE_MIRRORS:append = " ${TEMPLATE_SSTATE_MIRROR}"
TEMPLATE_SSTATE_MIRROR = "file://.* file://${TEMPLATE_SSTATE_DIR}/PATH"
TEMPLATE_SSTATE_MIRROR[vardepvalue] = ""

# not a function of the task itself, which would have it in its hash
addhandler template_explain_build
template_explain_build[eventmask] = "bb.build.TaskStarted"
python template_explain_build() {
    from imagetemplate import reuse, sstate, verified
    if e.task != reuse.BUILD:
        return
    recorded = (verified.read(d).get('anchors') or {}).get('tasks') or {}

    def compare(cause, known):
        kept = os.path.join(d.getVar('TEMPLATE_SSTATE_DIR'), sstate.SIGDATA)
        theirs = reuse.find_sigdata(kept, cause.recipe, cause.task, known)
        ours = reuse.find_sigdata(d.getVar('STAMPS_DIR'), *cause)
        return reuse.differences(bb.siggen.compare_sigfiles(theirs, ours)) if theirs and ours else []

    for line in reuse.explain(d.getVar('PN'), d.getVar('BB_TASKDEPDATA', False), recorded, compare):
        bb.plain(line)
}
