/*
 * An innocent with a heap that is collected: it grows, is emptied and grows again.
 *
 *   heap MIB SWING          MIB that stay, SWING MiB that come and go in 1.5 s
 */
#include "lab.h"

int main(int argc, char **argv)
{
	long stays = argc > 1 ? atol(argv[1]) : 60, swing = argc > 2 ? atol(argv[2]) : 60;
	char *all = memory(stays * MIB);

	fill(all, stays * MIB);
	for (int round = 0;; round++) {
		long long due = now_us();
		char *young = memory(swing * MIB);
		for (long i = 0; i < swing; i++) {
			fill(young + i * MIB, MIB);
			pace(&due, swing);
		}
		write_pages(all, stays * MIB);
		usleep(200000);
		munmap(young, swing * MIB);
		if (round == 1)
			ready();
		usleep(300000);
	}
}
