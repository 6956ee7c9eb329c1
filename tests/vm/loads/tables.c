/*
 * Reads one page of every 2 MiB of a huge and empty mapping. It is the same page of
 * zeros each time, but each time it takes a page table of its own: memory of the
 * process that is not in its resident set.
 *
 *   tables RATE             at RATE MiB/s of page tables
 */
#include "lab.h"

#define SPAN (2 * MIB)

int main(int argc, char **argv)
{
	long rate = argc > 1 ? atol(argv[1]) : 20, number = 1 << 20;
	const volatile char *all = mmap(NULL, number * SPAN, PROT_READ,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (all == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	madvise((void *)all, number * SPAN, MADV_NOHUGEPAGE);
	long long due = now_us();
	for (long i = 0; i < number; i++) {
		(void)all[i * SPAN];
		if ((i + 1) % 256 == 0)
			pace(&due, rate);
		if ((i + 1) % 8192 == 0)
			say("has %ld MiB of page tables\n", (i + 1) * PAGE / MIB);
	}
	for (;;)
		pause();
}
