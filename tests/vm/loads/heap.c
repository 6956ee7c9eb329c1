/*
 * An innocent whose heap swings, as with a garbage collector: takes memory, uses
 * it, frees it, every two seconds.
 *
 *   heap MIB
 */
#include "lab.h"

int main(int argc, char **argv)
{
	size_t size = (argc > 1 ? atol(argv[1]) : 60) * MIB;

	for (int i = 0;; i++) {
		/* A tenth at a time, over a second; that large, it is given back. */
		char *parts[10];
		for (int part = 0; part < 10; part++) {
			parts[part] = malloc(size / 10);
			if (!parts[part])
				return 1;
			fill(parts[part], size / 10);
			usleep(100000);
		}
		for (int part = 0; part < 10; part++)
			free(parts[part]);
		if (i == 1)
			ready();
		usleep(1000000);
	}
}
