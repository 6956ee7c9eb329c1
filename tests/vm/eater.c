/*
 * Eats memory: allocates and touches it at a steady rate.
 *
 *   eater [-i] [-t] RATE [LIMIT]
 *
 * RATE is in MiB/s, 0 for as fast as possible; LIMIT in MiB, 0 for none: there
 * it keeps what it has and waits. -i fills the memory with noise, which does
 * not compress, instead of a word a page; -t ignores SIGTERM.
 */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)
#define SECOND 1000000000LL

static uint64_t seed = 88172645463325252;

static uint64_t noise(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static long long now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * SECOND + t.tv_nsec;
}

int main(int argc, char **argv)
{
	int option, noisy = 0;

	while ((option = getopt(argc, argv, "it")) != -1) {
		if (option == 'i')
			noisy = 1;
		else if (option == 't')
			signal(SIGTERM, SIG_IGN);
		else
			return 2;
	}
	if (optind == argc) {
		fprintf(stderr, "usage: eater [-i] [-t] RATE [LIMIT]\n");
		return 2;
	}
	long rate = atol(argv[optind]);
	long limit = optind + 1 < argc ? atol(argv[optind + 1]) : 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("pid %d starts\n", getpid());

	long long due = now();
	for (long eaten = 0; limit == 0 || eaten < limit; ) {
		uint64_t *block = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (block == MAP_FAILED) {
			perror("mmap");
			return 1;
		}
		for (size_t i = 0; i < MIB / sizeof *block; i += noisy ? 1 : 512)
			block[i] = noise();
		if (++eaten % 32 == 0)
			printf("has eaten %ld MiB\n", eaten);
		if (rate > 0) {
			/* Time lost is lost: no burst to catch up. */
			long long t = now();
			due += SECOND / rate;
			if (due < t)
				due = t;
			struct timespec until = { due / SECOND, due % SECOND };
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		}
	}
	printf("is full\n");
	for (;;)
		pause();
}
