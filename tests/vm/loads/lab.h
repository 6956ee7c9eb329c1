/* What the lab's programs share. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024L)
#define PAGE 4096L

/* An ordinary user's from now on; nonzero if it cannot be. */
static inline int become_ordinary(void)
{
	const int nobody = 65534;

	return setgid(nobody) || setuid(nobody);
}

/* Whoever leaks holds this pipe: once all have let go, the culprit is gone. */
#define CULPRIT_FD 3

/* Where canary and referee meet: one page of a file, locked by the referee. */
#define CANARY_PAGE "/run/canary"
enum { TICKS, STARTS, KINDS };
struct canary {
	volatile int epoch;                 /* raised by the referee: begin anew */
	struct {
		volatile long long due;     /* under way since, in us; 0: none */
		volatile long long worst;   /* longest delay, in us */
		volatile long long when;    /* when that one ended */
		volatile long long stalled; /* sum of the delays over 50 ms */
	} kind[KINDS];
};

static inline long long now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static inline void sleep_until(long long us)
{
	struct timespec t = { us / 1000000, us % 1000000 * 1000 };
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

/* Keeps a rate: sleeps until the next of so many steps a second is due. Time
 * lost is lost, there is no burst to catch up. 0 is as fast as possible. */
static inline void pace(long long *due, long rate)
{
	if (rate <= 0)
		return;
	long long t = now_us();
	*due += 1000000 / rate;
	if (*due < t)
		*due = t;
	else
		sleep_until(*due);
}

/* How many the kernel's killer has killed, by this file; -1 where it does not tell. */
static inline long oom_kills(int vmstat)
{
	static char text[8192];
	ssize_t got = pread(vmstat, text, sizeof text - 1, 0);
	text[got > 0 ? got : 0] = 0;
	char *line = strstr(text, "oom_kill ");
	return line ? atol(line + 9) : -1;
}

static inline uint64_t noise(void)
{
	static uint64_t seed;
	if (!seed)
		seed = 88172645463325252 ^ (uint64_t)getpid() << 32;
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* Contents that do not compress. */
static inline void fill(void *memory, size_t size)
{
	for (size_t i = 0; i < size / 8; i++)
		((uint64_t *)memory)[i] = noise();
}

/* Reads or writes one word of each page. */
static inline void read_pages(const volatile char *memory, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		(void)memory[i];
}
static inline void write_pages(volatile char *memory, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		memory[i]++;
}

static inline void *memory(size_t size)
{
	void *got = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (got == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
	return got;
}

/* A file of the disk, mapped. */
static inline const char *map_file(const char *name, size_t size)
{
	int file = open(name, O_RDONLY);
	void *got = mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
	if (file < 0 || got == MAP_FAILED) {
		perror(name);
		exit(1);
	}
	close(file);
	return got;
}

/* A line of /proc/meminfo, in KiB. */
static inline long meminfo(const char *key)
{
	char text[4096];
	int file = open("/proc/meminfo", O_RDONLY);
	ssize_t got = read(file, text, sizeof text - 1);
	close(file);
	text[got > 0 ? got : 0] = 0;
	char *line = strstr(text, key);
	return line ? atol(line + strlen(key) + 1) : -1;
}

/* One whole line at a time, without a buffer to be written later. */
#define say(...) dprintf(1, __VA_ARGS__)
/* The referee waits for this before it starts anybody else. */
static inline void ready(void) { say("ready\n"); }

/* One MiB more. */
static inline void leak_more(long *leaked)
{
	fill(memory(MIB), MIB);
	if (++*leaked % 16 == 0)
		say("pid %d has leaked %ld MiB\n", getpid(), *leaked);
}

/* A server whose child `leak` may end, and that ends itself if it loses another one. */
static inline int outlive(pid_t leak, const char *child_is)
{
	pid_t child;
	int lost = 0;

	while ((child = wait(NULL)) > 0) {
		if (child == leak) {
			say("the %s that leaks, pid %d, has ended\n", child_is, child);
			continue;
		}
		say("an innocent %s, pid %d, has ended\n", child_is, child);
		/* How many it was is told before the end. */
		if (!lost++)
			alarm(1);
	}
	return 1;
}
