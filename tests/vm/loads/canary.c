/*
 * The interactive program whose delays tell what a user would feel.
 *
 *   canary FILE PROGRAM
 *
 * Every 20 ms it touches 8 MiB of its own and 2 MiB of FILE, mapped; every
 * 500 ms, in a thread of its own, it starts PROGRAM and waits for its end. A
 * delay is the time from when that was due until it was done.
 */
#include "lab.h"
#include <pthread.h>
#include <spawn.h>

#define OWN (8 * MIB)
#define MAPPED (2 * MIB)

static struct canary *page;
static const char *program;

static void measured(int kind, int *epoch, long long due)
{
	long long t = now_us(), delay = t - due;

	if (*epoch != page->epoch) {
		/* What began before the referee asked is not measured. */
		*epoch = page->epoch;
		page->kind[kind].worst = page->kind[kind].stalled = 0;
	} else {
		if (delay > page->kind[kind].worst) {
			page->kind[kind].worst = delay;
			page->kind[kind].when = t;
		}
		if (delay > 50000)
			page->kind[kind].stalled += delay;
	}
}

static void every(long long us, int kind, void (*act)(void))
{
	int epoch = -1;

	for (long long due = now_us() + us;;) {
		page->kind[kind].due = due;
		sleep_until(due);
		act();
		measured(kind, &epoch, due);
		due += us;
		if (due < now_us())
			due = now_us();
	}
}

static char *own;
static const char *mapped;

static void tick(void)
{
	write_pages(own, OWN);
	read_pages(mapped, MAPPED);
}

static void start(void)
{
	extern char **environ;
	char *arguments[] = { "true", NULL };
	pid_t child;

	/* Without vfork's like, the copying of our memory would stop the ticks. */
	if (posix_spawn(&child, program, NULL, NULL, arguments, environ) == 0)
		waitpid(child, NULL, 0);
}

static void *starts(void *unused)
{
	every(500000, STARTS, start);
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t thread;
	int file = open(CANARY_PAGE, O_RDWR);

	if (argc != 3 || file < 0) {
		say("usage: canary FILE PROGRAM, and there must be " CANARY_PAGE "\n");
		return 2;
	}
	page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	own = memory(OWN);
	fill(own, OWN);
	mapped = map_file(argv[1], MAPPED);
	program = argv[2];
	for (int i = 0; i < 3; i++) {
		tick();
		start();
	}
	pthread_create(&thread, NULL, starts, NULL);
	ready();
	every(20000, TICKS, tick);
}
