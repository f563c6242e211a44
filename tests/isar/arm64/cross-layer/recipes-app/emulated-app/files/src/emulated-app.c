/* SPDX-License-Identifier: MIT
 * Copyright (c) The isar-template authors
 *
 * Says that it runs.
 */
#include <stdio.h>

int main(void)
{
    return puts("emulated-app is running") < 0;
}
