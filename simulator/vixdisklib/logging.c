/* Log lines travel as format and va_list, like VDDK's; a broken rule ends the process here. */
#include "sim.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

_Thread_local int callback_depth;

static LogFn *log_fn, *warn_fn, *panic_fn;

void loggers_set(LogFn *log, LogFn *warn, LogFn *panic)
{
    log_fn = log;
    warn_fn = warn;
    panic_fn = panic;
}

bool loggers_missing(void)
{
    return !log_fn || !warn_fn || !panic_fn;
}

static void hand_over(LogFn *fn, const char *fmt, va_list arguments)
{
    if (!fn) {
        vfprintf(stderr, fmt, arguments);
        return;
    }
    callback_depth++;
    fn(fmt, arguments);
    callback_depth--;
}

void say(enum level level, const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    hand_over(level == WARN ? warn_fn : log_fn, fmt, arguments);
    va_end(arguments);
}

static void panic(const char *fmt, ...)
{
    va_list arguments;
    va_start(arguments, fmt);
    if (panic_fn)
        hand_over(panic_fn, fmt, arguments);
    va_end(arguments);
}

void die(const char *function, const char *fmt, ...)
{
    char reason[1024];
    va_list arguments;
    va_start(arguments, fmt);
    vsnprintf(reason, sizeof reason, fmt, arguments);
    va_end(arguments);

    char line[1200];
    int length = snprintf(line, sizeof line, "vixDiskLib stand-in: %s: %s\n", function, reason);
    if (write(STDERR_FILENO, line, (size_t)length) < 0)
        abort();
    panic("%s: %s\n", function, reason);
    abort();
}
