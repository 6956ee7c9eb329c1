/*
 * A leak that moves on: a child goes on with the memory and the parent ends.
 *
 *   chain RATE MIB          at RATE MiB/s, to a child after each MIB
 */
#include "lab.h"

int main(int argc, char **argv)
{
	long rate = argc > 1 ? atol(argv[1]) : 25, each = argc > 2 ? atol(argv[2]) : 10;

	long long due = now_us();
	for (long eaten = 1;; eaten++) {
		fill(memory(MIB), MIB);
		if (eaten % 50 == 0)
			say("pid %d has %ld MiB\n", getpid(), eaten);
		if (eaten % each == 0 && fork() > 0)
			return 0;
		pace(&due, rate);
	}
}
