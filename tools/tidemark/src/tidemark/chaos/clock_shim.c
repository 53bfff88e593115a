/* Shifts the wall clock of one process. Loaded with LD_PRELOAD; CLOCK_MONOTONIC is left alone, as in a real jump.

   TIDEMARK_CLOCKS names a directory with a file for every TIDEMARK_WORKER_ID: eight bytes, a native int64, the
   nanoseconds to add. It is read anew at every call; without the file the clock is the machine's. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t none = 0;
static const volatile int64_t *offset_ns = &none;
static int (*real_clock_gettime)(clockid_t, struct timespec *);

__attribute__((constructor)) static void begin(void)
{
    const char *directory = getenv("TIDEMARK_CLOCKS"), *worker = getenv("TIDEMARK_WORKER_ID");
    char path[4096] = "";
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    if (directory && worker)
        snprintf(path, sizeof path, "%s/%s", directory, worker);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
    if (page != MAP_FAILED)
        offset_ns = page;
    close(fd);
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    if (!real_clock_gettime)
        real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real_clock_gettime(id, now);
    if (failed || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE) || !*offset_ns)
        return failed;
    int64_t shifted = now->tv_sec * INT64_C(1000000000) + now->tv_nsec + *offset_ns;
    now->tv_sec = shifted / INT64_C(1000000000);
    now->tv_nsec = shifted % INT64_C(1000000000);
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *where)
{
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (where)
        *where = exact.tv_sec;
    return exact.tv_sec;
}
