# SPDX-License-Identifier: MIT
# Copyright (c) The isar-template authors
"""What the classes of meta-template do in python, testable without bitbake.

Wherever a function takes `d`, it is bitbake's data store, of which only getVar and getVarFlag are used.
"""
