/*
 * An innocent that needs memory late: it is quiet until no more than so much is
 * available, and then takes what it needs, keeps it and uses it.
 *
 *   late AVAILABLE MIB RATE [STEPS]     MIB at RATE MiB/s, 0 for all at once, in
 *                                       so many steps with pauses of a second
 */
#include "lab.h"

int main(int argc, char **argv)
{
	long long due = now_us();

	if (argc < 4)
		return 2;
	long size = atol(argv[2]), rate = atol(argv[3]), steps = argc > 4 ? atol(argv[4]) : 1;
	ready();
	while (meminfo("MemAvailable:") > atol(argv[1]) * 1024)
		usleep(50000);
	say("needs %ld MiB\n", size);
	char *all = memory(size * MIB);
	due = now_us();
	for (long step = 0, part = size * MIB / steps; !rate && step < steps; step++) {
		if (step > 0)
			sleep(1);
		if (madvise(all + step * part, part, 23 /* MADV_POPULATE_WRITE */) < 0)
			perror("madvise");
	}
	for (long i = 0; rate && i < size; i++) {
		fill(all + i * MIB, MIB);
		pace(&due, rate);
	}
	say("has %ld MiB\n", size);
	for (due = now_us();;) {
		write_pages(all, size * MIB);
		pace(&due, 2);
	}
}
