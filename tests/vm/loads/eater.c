/*
 * Eats memory: allocates and touches it at a steady rate.
 *
 *   eater [OPTION...] RATE [LIMIT]
 *
 * RATE is in MiB/s, 0 for as fast as possible; LIMIT in MiB, 0 for none: there
 * it keeps what it has and waits.
 *
 *   -i         fills the memory with noise, which does not compress, instead of
 *              a word a page
 *   -t         ignores SIGTERM
 *   -r PAGES   for each MiB eaten writes to so many pages of all it has, picked
 *              at random: with swap, it thrashes
 *   -s MIB     goes on at 1 MiB/s once no more than MIB are available
 *   -b MIB     begins as fast as possible, as long as more than MIB are available
 *   -a MIB     stops, as at LIMIT, once no more than MIB are available
 *   -c MIB     moves to a child each time it has eaten MIB more: the child keeps
 *              all that was eaten, and the parent ends
 *   -p MIB,S   pauses for so many seconds each time it has eaten MIB more
 */
#include "lab.h"

static char **blocks;
static long eaten;

static void touch_again(long pages)
{
	for (; eaten && pages > 0; pages--)
		blocks[noise() % eaten][noise() % (MIB / PAGE) * PAGE]++;
}

int main(int argc, char **argv)
{
	int option, noisy = 0;
	long again = 0, slow_at = 0, stop_at = 0, move = 0, hurry_to = 0, burst = 0, rest = 0;

	while ((option = getopt(argc, argv, "itr:s:a:b:c:p:")) != -1) {
		if (option == 'i')
			noisy = 1;
		else if (option == 't')
			signal(SIGTERM, SIG_IGN);
		else if (option == 'r')
			again = atol(optarg);
		else if (option == 's')
			slow_at = atol(optarg) * 1024;
		else if (option == 'a')
			stop_at = atol(optarg) * 1024;
		else if (option == 'c')
			move = atol(optarg);
		else if (option == 'b')
			hurry_to = atol(optarg) * 1024;
		else if (option == 'p' && sscanf(optarg, "%ld,%ld", &burst, &rest) == 2)
			;
		else
			return 2;
	}
	if (optind == argc) {
		say("usage: eater [-i] [-t] [-r PAGES] [-s MIB] [-a MIB] [-b MIB] [-c MIB] [-p MIB,S] RATE [LIMIT]\n");
		return 2;
	}
	long rate = atol(argv[optind]);
	long limit = optind + 1 < argc ? atol(argv[optind + 1]) : 0;

	/* Of 1 TiB, touched as far as it is used. */
	blocks = mmap(NULL, MIB * sizeof *blocks, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	say("pid %d starts\n", getpid());

	long long due = now_us();
	while (limit == 0 || eaten < limit) {
		int hurries = 0;
		if (slow_at || stop_at || hurry_to) {
			long available = meminfo("MemAvailable:");
			hurries = hurry_to && available > hurry_to;
			if (available <= stop_at)
				break;
			if (available <= slow_at && rate != 1) {
				say("slows down with %ld MiB\n", eaten);
				rate = 1;
			}
		}
		char *block = memory(MIB);
		if (noisy)
			fill(block, MIB);
		else
			for (size_t i = 0; i < MIB; i += PAGE)
				*(uint64_t *)(block + i) = noise();
		blocks[eaten++] = block;
		if (eaten % 32 == 0)
			say("has eaten %ld MiB\n", eaten);
		/* Only the parent of a child ends: one that cannot have any stays. */
		if (move && eaten % move == 0 && fork() > 0)
			_exit(0);
		touch_again(again);
		if (burst && eaten % burst == 0)
			sleep(rest);
		pace(&due, hurries ? 0 : rate);
	}
	say("is full with %ld MiB\n", eaten);
	while (again) {
		touch_again(again);
		pace(&due, rate);
	}
	for (;;)
		pause();
}
