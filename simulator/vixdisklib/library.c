/* Process life: one InitEx, a background thread that does not survive a fork, one Exit. */
#include "sim.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic enum { FRESH, READY, OVER } phase;
static _Atomic bool forked;
static pid_t init_thread, init_process;
static char *modes;

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t asked, answered; /* under lock */
    bool stopping;            /* under lock */
} background = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void *background_main(void *unused)
{
    (void)unused;
    if (conf.noise)
        say(LOG, "VDDK_PhoneHome: report %d of %d not sent (%s)\n", 1, 1, "no proxy");
    pthread_mutex_lock(&background.lock);
    while (!background.stopping) {
        background.answered = background.asked;
        pthread_cond_broadcast(&background.changed);
        pthread_cond_wait(&background.changed, &background.lock);
    }
    pthread_mutex_unlock(&background.lock);
    return NULL;
}

static void background_start(void)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&background.thread, NULL, background_main, NULL);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error)
        die("VixDiskLib_InitEx", "cannot start a thread: %s", strerror(error));
}

/* The process id tells where a fork went past the handler; the thread answers for itself. */
void background_check(const char *function)
{
    struct timespec limit;
    if (getpid() != init_process)
        die(function, "used after fork: the threads of VixDiskLib_InitEx are gone in the child");
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_sec += 30;
    pthread_mutex_lock(&background.lock);
    uint64_t mine = ++background.asked;
    pthread_cond_broadcast(&background.changed);
    while (background.answered < mine)
        if (pthread_cond_timedwait(&background.changed, &background.lock, &limit) == ETIMEDOUT)
            die(function, "the background thread of the library does not answer");
    pthread_mutex_unlock(&background.lock);
}

static void in_child(void)
{
    forked = true;
}

static void replace_status(void)
{
    fflush(NULL);
    _exit(0);
}

static int thread_count(void)
{
    int count = 0;
    DIR *tasks = opendir("/proc/self/task");
    for (struct dirent *entry; tasks && (entry = readdir(tasks));)
        count += entry->d_name[0] != '.';
    if (tasks)
        closedir(tasks);
    return count;
}

void enter(const char *function)
{
    if (forked)
        die(function, "used after fork: the threads of VixDiskLib_InitEx are gone in the child");
    if (phase == FRESH)
        die(function, "called before VixDiskLib_InitEx");
    if (phase == OVER)
        die(function, "called after VixDiskLib_Exit");
    if (callback_depth && !conf.callback_calls)
        die(function, "called from inside a callback of the library");
    if (!conf.null_loggers && loggers_missing() && gettid() != init_thread)
        die(function, "a threaded program passed NULL loggers to VixDiskLib_InitEx");
}

VixError outward(VixError code)
{
    return code && conf.high_bits ? code | 0x0042001700000000u : code;
}

const char *working_transports(void)
{
    return modes;
}

/* A wrong libDir is not refused: transports go missing and only the log tells. */
static void find_plugins(const char *lib_dir)
{
    char *path = format("%s/lib64", lib_dir ? lib_dir : "");
    bool found = lib_dir && !access(path, X_OK);
    modes = copy_text(found ? conf.transports : "file:nbdssl:nbd");
    if (!found)
        say(WARN, "VixDiskLib: could not load libdiskLibPlugin.so: cannot open shared object file: %s\n", path);
    free(path);
}

static void check_caller(bool threaded)
{
    static const char name[] = "VixDiskLib_InitEx";
    if (forked)
        die(name, "used after fork: the parent has called it before");
    if (phase != FRESH)
        die(name, "called a second time in this process");
    if (threaded && loggers_missing() && !conf.null_loggers)
        die(name, "a threaded program passed NULL loggers");
    if (conf.main_thread && gettid() != getpid())
        die(name, "not called on the main thread");
}

VixError VixDiskLib_InitEx(uint32_t major, uint32_t minor, LogFn *log, LogFn *warn, LogFn *panic,
                           const char *lib_dir, const char *config_file)
{
    if (phase == FRESH && !forked) {
        loggers_set(log, warn, panic);
        if (!switches_load(lib_dir))
            return VIX_E_INVALID_ARG;
    }
    check_caller(thread_count() > 1);
    sleep_ms(conf.init_ms);
    unsigned version[3];
    version_numbers(version);
    say(LOG, "VMware VixDiskLib (%u.%u.%u) Release build-%llu\n", version[0], version[1], version[2],
        (unsigned long long)conf.build);
    say(LOG, "VixDiskLib: interface %u.%u requested\n", major, minor);
    VixError code = major > 9 ? VIX_E_NOT_SUPPORTED : faults_apply("init", NULL, NULL);
    if (code)
        return outward(code);
    if (conf.noise)
        say(WARN, "Get CEIP status failed with error code %d\n", 2);
    find_plugins(lib_dir);
    config_load(config_file);
    init_thread = gettid();
    init_process = getpid();
    pthread_atfork(NULL, NULL, in_child);
    if (conf.exit_zero)
        atexit(replace_status);
    background_start();
    phase = READY;
    return VIX_OK;
}

VixError VixDiskLib_Init(uint32_t major, uint32_t minor, LogFn *log, LogFn *warn, LogFn *panic,
                         const char *lib_dir)
{
    return VixDiskLib_InitEx(major, minor, log, warn, panic, lib_dir, NULL);
}

void VixDiskLib_Exit(void)
{
    enter(__func__);
    if (conf.check_leaks) {
        objects_report_leaks(__func__);
        if (access_outstanding())
            die(__func__, "%zu VixDiskLib_PrepareForAccess without VixDiskLib_EndAccess", access_outstanding());
    }
    pthread_mutex_lock(&background.lock);
    background.stopping = true;
    pthread_cond_broadcast(&background.changed);
    pthread_mutex_unlock(&background.lock);
    pthread_join(background.thread, NULL);
    sleep_ms(conf.exit_ms);
    phase = OVER;
}

const char *VixDiskLib_ListTransportModes(void)
{
    enter(__func__);
    return modes;
}
