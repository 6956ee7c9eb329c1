/*
 * A short and legitimate need: takes memory until so much is left, keeps it for
 * a moment, gives it back; three times.
 *
 *   spike LEFT MS           LEFT in thousandths of available and anonymous memory
 */
#include "lab.h"

int main(int argc, char **argv)
{
	long left = argc > 1 ? atol(argv[1]) : 125;
	long ms = argc > 2 ? atol(argv[2]) : 300;
	static void *blocks[65536];

	for (int times = 0; times < 3; times++) {
		long all = meminfo("MemAvailable:") + meminfo("AnonPages:");
		long limit = all * left / 1000, available, n = 0;
		while ((available = meminfo("MemAvailable:")) > limit + 1024) {
			blocks[n] = memory(MIB);
			fill(blocks[n++], MIB);
		}
		say("has taken %ld MiB, %ld of %ld MiB are left\n", n, available / 1024, all / 1024);
		usleep(ms * 1000);
		while (n > 0)
			munmap(blocks[--n], MIB);
		usleep(1000000);
	}
	return 0;
}
