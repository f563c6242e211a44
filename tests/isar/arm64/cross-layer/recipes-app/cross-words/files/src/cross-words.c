/* SPDX-License-Identifier: MIT
 * Copyright (c) The isar-template authors
 *
 * Writes a line of C that has a word in it.
 */
#include <stdio.h>

int main(int argc, char **argv)
{
    return argc != 2 || printf("#define WORD \"%s\"\n", argv[1]) < 0;
}
