/*
 * An innocent process: holds memory and uses all of it ten times a second.
 *
 *   bystander SIZE FILE
 *
 * SIZE is in MiB. After each round it writes to FILE how many rounds it has
 * done and the longest time, in ms, that one took to come round: the most that
 * somebody waiting for this process would have had to wait.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static long long now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: bystander SIZE FILE\n");
		return 2;
	}
	size_t size = strtoul(argv[1], NULL, 10) * 1024 * 1024;
	volatile char *memory = malloc(size);
	int file = open(argv[2], O_WRONLY | O_CREAT, 0644);
	if (!memory || file < 0) {
		perror("bystander");
		return 1;
	}
	memset((char *)memory, 1, size);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("pid %d holds %s MiB\n", getpid(), argv[1]);

	long long longest = 0, last = now_ms();
	for (unsigned long rounds = 1;; rounds++) {
		for (size_t i = 0; i < size; i += 4096)
			memory[i]++;
		char text[64];
		int length = snprintf(text, sizeof text, "%-10lu %-10lld\n", rounds, longest);
		pwrite(file, text, length, 0);
		usleep(100 * 1000);
		long long t = now_ms();
		if (t - last > longest)
			longest = t - last;
		last = t;
	}
}
