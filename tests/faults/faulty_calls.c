/* Stands between a program and the system's calls that change files below one folder: counts them, writes them down, and
 * lets a chosen one fail, wait, or be the last thing that the program does. Loaded with LD_PRELOAD by `faulty_calls.py`.
 *
 * FAULTY_FOLDER: only calls on files below it count. FAULTY_CALLS, FAULTY_NAME: of those only calls of these names
 * (separated by commas), on paths that contain this text. FAULTY_AT: the number of the first call that is to fail;
 * FAULTY_LASTING: all after it too. FAULTY_DO: kill_before, kill_after, kill_within (half of a write is done), short
 * (half of a write is done, and said to be), wait:<ms>, or error:<errno>. FAULTY_RECORD: where every call is written
 * down: name, begin and end (ns of the monotonic clock), offset, bytes, path, new path; and what was written.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static const char *folder, *calls, *name_part, *what;
static long at, seen;
static int lasting, record = -1;

#define REAL(symbol) ((__typeof__(&symbol))dlsym(RTLD_NEXT, #symbol))

__attribute__((constructor)) static void set_up(void)
{
    const char *number = getenv("FAULTY_AT"), *file = getenv("FAULTY_RECORD");
    folder = getenv("FAULTY_FOLDER");
    calls = getenv("FAULTY_CALLS");
    name_part = getenv("FAULTY_NAME");
    what = getenv("FAULTY_DO");
    lasting = getenv("FAULTY_LASTING") != NULL;
    at = number ? atol(number) : 0;
    if (file)
        record = syscall(SYS_openat, AT_FDCWD, file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    unsetenv("LD_PRELOAD"); /* the processes that it starts are left alone */
}

static long long now_ns(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return moment.tv_sec * 1000000000LL + moment.tv_nsec;
}

static const char *place(int descriptor, const char *path, char *found)
{
    if (path && path[0] == '/')
        snprintf(found, PATH_MAX, "%s", path);
    else if (path) {
        char here[PATH_MAX] = "";
        if (!getcwd(here, sizeof here) || snprintf(found, PATH_MAX, "%s/%s", here, path) >= PATH_MAX)
            return NULL;
    } else {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
        ssize_t size = readlink(link, found, PATH_MAX - 1);
        if (size < 0)
            return NULL;
        found[size] = 0;
    }
    size_t length = folder ? strlen(folder) : 0;
    return length && !strncmp(found, folder, length) && (!found[length] || found[length] == '/') ? found : NULL;
}

static int is_meant(const char *call, const char *path)
{
    if (name_part && !strstr(path, name_part))
        return 0;
    if (!calls)
        return 1;
    const char *found = strstr(calls, call);
    size_t length = strlen(call);
    return found && (found == calls || found[-1] == ',') && (!found[length] || found[length] == ',');
}

static void note(const char *call, long long begin, off_t offset, const struct iovec *parts, int count, size_t size,
                 const char *path, const char *target)
{
    char line[2 * PATH_MAX + 200];
    int length = snprintf(line, sizeof line, "%s\t%lld\t%lld\t%lld\t%zu\t%s\t%s\n", call, begin, now_ns(),
                          (long long)offset, size, path, target ? target : "");
    if (syscall(SYS_write, record, line, length) != length)
        abort();
    for (int part = 0; parts && part < count && size; part++) {
        size_t now = parts[part].iov_len < size ? parts[part].iov_len : size;
        if (syscall(SYS_write, record, parts[part].iov_base, now) != (long)now)
            abort();
        size -= now;
    }
}

static void end_here(void)
{
    syscall(SYS_kill, getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Counts a call; gives what is to become of it: nothing special (0), an errno, or one of these. */
enum { AFTER = -1, WITHIN = -2, SHORT = -3, WAIT = -4 };

static int fate(const char *call, const char *path)
{
    if (!is_meant(call, path) || ++seen < at || !at || (seen > at && !lasting) || !what)
        return 0;
    if (!strcmp(what, "kill_before"))
        end_here();
    if (!strcmp(what, "kill_after"))
        return AFTER;
    if (!strcmp(what, "kill_within"))
        return WITHIN;
    if (!strcmp(what, "short"))
        return SHORT;
    return strncmp(what, "wait:", 5) ? atoi(strchr(what, ':') + 1) : WAIT;
}

static void wait_a_while(void)
{
    long milliseconds = atol(what + 5);
    struct timespec length = {milliseconds / 1000, milliseconds % 1000 * 1000000};
    nanosleep(&length, NULL);
}

/* A call that writes no bytes: `done` is what it gives. */
#define CHANGE(type, call, descriptor, path, target, failed, done)                                                     \
    char found[PATH_MAX], other[PATH_MAX];                                                                             \
    const char *where = place(descriptor, path, found);                                                                \
    if (!where)                                                                                                        \
        return done;                                                                                                   \
    const char *to = target ? place(-1, target, other) : NULL;                                                         \
    pthread_mutex_lock(&turn);                                                                                         \
    int how = fate(call, where);                                                                                       \
    if (how == WAIT) {                                                                                                 \
        pthread_mutex_unlock(&turn);                                                                                   \
        wait_a_while();                                                                                                \
        pthread_mutex_lock(&turn);                                                                                     \
    }                                                                                                                  \
    if (how > 0 || how == SHORT) {                                                                                     \
        pthread_mutex_unlock(&turn);                                                                                   \
        errno = how > 0 ? how : EIO;                                                                                   \
        return failed;                                                                                                 \
    }                                                                                                                  \
    long long begin = now_ns();                                                                                        \
    type result = done;                                                                                                \
    int problem = errno;                                                                                               \
    if (record >= 0 && result != failed)                                                                               \
        note(call, begin, size_then, NULL, 0, 0, where, to);                                                           \
    if (how == AFTER || how == WITHIN)                                                                                 \
        end_here();                                                                                                    \
    pthread_mutex_unlock(&turn);                                                                                       \
    errno = problem;                                                                                                   \
    return result

static ssize_t written(int descriptor, const struct iovec *parts, int count, off_t offset, int positioned)
{
    char found[PATH_MAX];
    const char *where = place(descriptor, NULL, found);
    struct iovec half[IOV_MAX];
    size_t size = 0;
    if (!where)
        return positioned ? REAL(pwritev)(descriptor, parts, count, offset) : REAL(writev)(descriptor, parts, count);
    for (int part = 0; part < count; part++)
        size += parts[part].iov_len;
    pthread_mutex_lock(&turn);
    int how = fate("write", where);
    if (how == WAIT) {
        pthread_mutex_unlock(&turn);
        wait_a_while();
        pthread_mutex_lock(&turn);
    }
    if (how > 0) {
        pthread_mutex_unlock(&turn);
        errno = how;
        return -1;
    }
    if (how == SHORT || how == WITHIN) {
        size_t left = size / 2;
        int part = 0;
        for (; part < count && left; part++) {
            half[part] = parts[part];
            if (half[part].iov_len > left)
                half[part].iov_len = left;
            left -= half[part].iov_len;
        }
        parts = half;
        count = part;
    }
    long long begin = now_ns();
    ssize_t result =
        positioned ? REAL(pwritev)(descriptor, parts, count, offset) : REAL(writev)(descriptor, parts, count);
    int problem = errno;
    if (record >= 0 && result > 0)
        note("write", begin, positioned ? offset : lseek(descriptor, 0, SEEK_CUR) - result, parts, count, result, where,
             NULL);
    if (how == AFTER || how == WITHIN)
        end_here();
    pthread_mutex_unlock(&turn);
    errno = problem;
    return result;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count)
{
    return written(descriptor, parts, count, 0, 0);
}

ssize_t write(int descriptor, const void *bytes, size_t size)
{
    struct iovec part = {(void *)bytes, size};
    return written(descriptor, &part, 1, 0, 0);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t size, off_t offset)
{
    struct iovec part = {(void *)bytes, size};
    return written(descriptor, &part, 1, offset, 1);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t size, off64_t offset)
{
    return pwrite(descriptor, bytes, size, offset);
}

int fsync(int descriptor)
{
    const off_t size_then = 0;
    CHANGE(int, "sync", descriptor, NULL, (const char *)NULL, -1, REAL(fsync)(descriptor));
}

int fdatasync(int descriptor)
{
    const off_t size_then = 0;
    CHANGE(int, "sync", descriptor, NULL, (const char *)NULL, -1, REAL(fdatasync)(descriptor));
}

int ftruncate(int descriptor, off_t length)
{
    const off_t size_then = length;
    CHANGE(int, "cut", descriptor, NULL, (const char *)NULL, -1, REAL(ftruncate)(descriptor, length));
}

int ftruncate64(int descriptor, off64_t length)
{
    return ftruncate(descriptor, length);
}

int rename(const char *from, const char *to_path)
{
    const off_t size_then = 0;
    CHANGE(int, "rename", -1, from, to_path, -1, REAL(rename)(from, to_path));
}

int unlink(const char *path)
{
    const off_t size_then = 0;
    CHANGE(int, "delete", -1, path, (const char *)NULL, -1, REAL(unlink)(path));
}

int remove(const char *path)
{
    const off_t size_then = 0;
    CHANGE(int, "delete", -1, path, (const char *)NULL, -1, REAL(remove)(path));
}

int mkdir(const char *path, mode_t mode)
{
    const off_t size_then = 0;
    CHANGE(int, "folder", -1, path, (const char *)NULL, -1, REAL(mkdir)(path, mode));
}

static int opened(int base, const char *path, int flags, mode_t mode)
{
    int makes = (flags & O_TRUNC) || ((flags & O_CREAT) && access(path, F_OK));
    const off_t size_then = 0;
    if (base != AT_FDCWD || !makes || (flags & O_TMPFILE) == O_TMPFILE)
        return REAL(openat)(base, path, flags, mode);
    CHANGE(int, "open", -1, path, (const char *)NULL, -1, REAL(openat)(base, path, flags, mode));
}

#define OPEN(base)                                                                                                     \
    va_list rest;                                                                                                      \
    va_start(rest, flags);                                                                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;                                            \
    va_end(rest);                                                                                                      \
    return opened(base, path, flags, mode)

int open(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int open64(const char *path, int flags, ...) { OPEN(AT_FDCWD); }
int openat(int base, const char *path, int flags, ...) { OPEN(base); }
int openat64(int base, const char *path, int flags, ...) { OPEN(base); }
