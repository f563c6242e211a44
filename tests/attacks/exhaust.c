// SPDX-License-Identifier: MIT
// Copyright (c) The isar-template authors
//
// Uses up what a machine has.
//
// usage: exhaust processes|disk
// Says how much it got, and what stopped it.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char stack[16384] __attribute__((aligned(16)));
static char block[1 << 20];

static int sleep_forever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
	return 0;
}

static int processes(void)
{
	int count = 0;
	// they share their memory, and none touches it: what counts is their number
	while (clone(sleep_forever, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | SIGCHLD, NULL) > 0)
		count++;
	printf("%d processes, then %s\n", count, strerrorname_np(errno));
	return 0;
}

static int disk(void)
{
	int fd = open("/big", O_WRONLY | O_CREAT, 0600);
	memset(block, 'x', sizeof block);
	for (int count = 0;; count++) {
		if (write(fd, block, sizeof block) != sizeof block) {
			printf("%d MiB, then %s\n", count, strerrorname_np(errno));
			return 0;
		}
		// a disk is not as fast as memory
		usleep(10000);
	}
}

int main(int argc, char **argv)
{
	return argc > 1 && !strcmp(argv[1], "disk") ? disk() : processes();
}
