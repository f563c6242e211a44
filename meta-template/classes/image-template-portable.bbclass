# Copyright (c) The isar-template authors
#
# SPDX-License-Identifier: MIT
#
# Task signatures that do not depend on who builds, where, and whether there is a network: for all
# recipes, in the modes that share what was built. Isar's have all three in them.

SCHROOT_USER[vardepvalue] = "builder"
BB_NO_NETWORK[vardepvalue] = ""

addhandler template_portable_flags
template_portable_flags[eventmask] = "bb.event.RecipeTaskPreProcess"
python template_portable_flags() {
    from imagetemplate import portable
    portable.normalise(d, e.tasklist)
    portable.complete_name(d)
}
