/* Moves a program's wall clock by as many nanoseconds as stand in a file (MOVED_CLOCK), which may change while it runs.
 * The steady clocks stay as they are. Loaded with LD_PRELOAD by `moved_clock.py`.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *shift;
static int (*real)(clockid_t, struct timespec *);

__attribute__((constructor)) static void set_up(void)
{
    const char *file = getenv("MOVED_CLOCK");
    int descriptor = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
    real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (descriptor >= 0) {
        void *found = mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, descriptor, 0);
        shift = found == MAP_FAILED ? NULL : found;
        close(descriptor);
    }
}

int clock_gettime(clockid_t clock, struct timespec *moment)
{
    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, moment);
    if (!result && shift && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        int64_t now = moment->tv_sec * 1000000000LL + moment->tv_nsec + *shift;
        moment->tv_sec = now / 1000000000LL;
        moment->tv_nsec = now % 1000000000LL;
    }
    return result;
}

time_t time(time_t *found)
{
    struct timespec moment;
    clock_gettime(CLOCK_REALTIME, &moment);
    if (found)
        *found = moment.tv_sec;
    return moment.tv_sec;
}

int gettimeofday(struct timeval *restrict found, void *restrict zone)
{
    struct timespec moment;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &moment);
    found->tv_sec = moment.tv_sec;
    found->tv_usec = moment.tv_nsec / 1000;
    return 0;
}
