/*
 * A database with shared memory, as PostgreSQL: all its backends use all of that, and
 * have a little of their own. One of them may leak. It ends if it loses another one.
 *
 *   backends SHARED NUMBER RATE
 *
 * SHARED MiB, NUMBER of backends, one of which leaks at RATE MiB/s; with 0 none does, and
 * it is ready once they are warm.
 */
#include "lab.h"

#define OWN 3

static void backend(char *shared, long size, long rate)
{
	long long due = now_us();

	if (!rate)
		close(CULPRIT_FD);
	char *own = memory(OWN * MIB);
	fill(own, OWN * MIB);
	/* Each reads what it needs first: not all of it at once. */
	for (long i = 0; i < 10; i++) {
		write_pages(shared + size / 10 * i, size / 10);
		pace(&due, 10);
	}
	if (rate)
		say("pid %d begins to leak\n", getpid());
	for (long leaked = 0;;) {
		write_pages(own, OWN * MIB);
		if (rate)
			leak_more(&leaked);
		else
			write_pages(shared, size);
		pace(&due, rate ? rate : 2);
	}
}

int main(int argc, char **argv)
{
	pid_t leak = 0, child;

	if (argc != 4)
		return 2;
	long size = atol(argv[1]) * MIB, rate = atol(argv[3]);
	int number = atoi(argv[2]);
	char *shared = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	fill(shared, size);
	for (int i = 0; i < number; i++) {
		/* In the middle: neither the oldest nor the youngest. */
		int leaks = rate && i == number / 2;
		child = fork();
		if (child == 0)
			backend(shared, size, leaks ? rate : 0);
		if (leaks)
			leak = child;
	}
	if (rate) {
		close(CULPRIT_FD);
	} else {
		usleep(1500000);
		ready();
	}
	return outlive(leak, "backend");
}
