/* SPDX-License-Identifier: MIT
 * Copyright (c) The isar-template authors
 *
 * Says what was written while it was built.
 */
#include <stdio.h>

#include "word.h"

int main(void)
{
    return puts("cross-app is " WORD) < 0;
}
