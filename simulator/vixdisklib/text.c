/* Strings and clocks. */
#include "sim.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

char *format(const char *fmt, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, fmt);
    int length = vasprintf(&text, fmt, arguments);
    va_end(arguments);
    if (length < 0)
        abort();
    return text;
}

char *copy_text(const char *text)
{
    if (!text)
        return NULL;
    char *copy = strdup(text);
    if (!copy)
        abort();
    return copy;
}

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

char *trim(char *text)
{
    while (blank(*text))
        text++;
    size_t length = strlen(text);
    while (length && blank(text[length - 1]))
        length--;
    text[length] = '\0';
    if (length >= 2 && text[0] == '"' && text[length - 1] == '"') {
        text[length - 1] = '\0';
        text++;
    }
    return text;
}

bool plain_name(const char *name)
{
    return name && *name && *name != '.' && !strchr(name, '/');
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void sleep_until(uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
                             .tv_nsec = (long)(deadline_ns % 1000000000u)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
        ;
}

void sleep_ms(uint64_t milliseconds)
{
    if (milliseconds)
        sleep_until(now_ns() + milliseconds * 1000000u);
}
