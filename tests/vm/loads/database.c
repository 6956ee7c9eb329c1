/*
 * An innocent server: holds memory that does not compress and uses all of it
 * steadily, a tenth every 100 ms.
 *
 *   database MIB
 */
#include "lab.h"

int main(int argc, char **argv)
{
	size_t size = (argc > 1 ? atol(argv[1]) : 32) * MIB, tenth = size / 10;
	char *all = memory(size);

	fill(all, size);
	ready();
	for (long long due = now_us();;)
		for (int part = 0; part < 10; part++) {
			write_pages(all + part * tenth, tenth);
			pace(&due, 10);
		}
}
