/* SPDX-License-Identifier: MIT
 * Copyright (c) The isar-template authors
 *
 * Say hello, and on which system: the self-built program of the demo product. */

#include <stdio.h>
#include <string.h>

int main(void)
{
    static const char key[] = "PRETTY_NAME=";
    char line[256], name[256] = "an unknown system";
    FILE *release = fopen("/etc/os-release", "r");

    while (release && fgets(line, sizeof line, release))
        if (strncmp(line, key, sizeof key - 1) == 0) {
            line[strcspn(line, "\n")] = '\0';
            snprintf(name, sizeof name, "%s", line + sizeof key - 1);
        }
    if (release)
        fclose(release);

    printf("hello from a product on %s\n", name);
    return 0;
}
