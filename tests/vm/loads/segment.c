/*
 * Fills a shared anonymous segment, which counts as shared memory, not as its
 * own.
 *
 *   segment RATE MIB        at RATE MiB/s, MIB in all
 */
#include "lab.h"

int main(int argc, char **argv)
{
	long rate = argc > 1 ? atol(argv[1]) : 0;
	long size = argc > 2 ? atol(argv[2]) : 1024;
	char *all = mmap(NULL, size * MIB, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (all == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	long long due = now_us();
	for (long i = 0; i < size; i++) {
		fill(all + i * MIB, MIB);
		if ((i + 1) % 32 == 0)
			say("has filled %ld MiB\n", i + 1);
		pace(&due, rate);
	}
	for (;;)
		pause();
}
