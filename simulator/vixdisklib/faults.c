/* Rules that make the n-th call go wrong. Counted per rule and process; a latch file makes a rule fire once over
 * all processes. */
#include "sim.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum action { FAIL, DELAY, HANG, ABORT, SEGV, EXIT, PANIC, FLIP, FILL, CUT, ACTIONS };

static const char *const actions[ACTIONS] = {"error", "delay", "hang", "abort",   "segv",
                                             "exit",  "panic", "flip", "garbage", "short"};
static const char *const calls[] = {"init",  "connect", "prepare",  "end",  "cleanup", "open",
                                    "info",  "read",    "query",    "wait", "close",   "disconnect",
                                    "flush", "meta",    NULL};

static struct rule {
    enum action action;
    char *call, *path, *latch;
    uint64_t at, times, code, ms;
    uint64_t seen; /* under lock */
} *rules;
static size_t rule_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static bool number(const char *text, uint64_t *out)
{
    char *rest;
    *out = strtoull(text, &rest, 0);
    return *text && !*rest;
}

static bool field(struct rule *rule, const char *key, const char *value)
{
    if (!strcmp(key, "on")) {
        for (const char *const *call = calls; *call; call++)
            if (!strcmp(*call, value)) {
                free(rule->call);
                rule->call = copy_text(value);
                return true;
            }
        return false;
    }
    if (!strcmp(key, "path"))
        return (rule->path = copy_text(value)), true;
    if (!strcmp(key, "latch"))
        return (rule->latch = copy_text(value)), true;
    if (!strcmp(key, "at"))
        return number(value, &rule->at);
    if (!strcmp(key, "times"))
        return number(value, &rule->times);
    if (!strcmp(key, "code"))
        return number(value, &rule->code);
    return !strcmp(key, "ms") && number(value, &rule->ms);
}

/* Cuts the next word off `*text`; double quotes keep blanks together and are dropped. NULL at the end. */
static char *next_word(char **text)
{
    char *from = *text + strspn(*text, " \t"), *to = from, *start = from;
    bool quoted = false;
    if (!*from)
        return NULL;
    for (; *from && (quoted || (*from != ' ' && *from != '\t')); from++) {
        if (*from == '"')
            quoted = !quoted;
        else
            *to++ = *from;
    }
    *text = *from ? from + 1 : from;
    *to = '\0';
    return start;
}

static bool parse_rule(char *text, struct rule *rule)
{
    char *word = next_word(&text);
    *rule = (struct rule){.action = ACTIONS, .call = copy_text("read"), .at = 1, .times = 1, .code = 14011};
    for (int i = 0; i < ACTIONS; i++)
        if (!strcmp(word, actions[i]))
            rule->action = (enum action)i;
    if (rule->action == ACTIONS)
        return false;
    while ((word = next_word(&text))) {
        char *equals = strchr(word, '=');
        if (!equals)
            return false;
        *equals = '\0';
        if (!field(rule, word, equals + 1))
            return false;
    }
    return true;
}

bool faults_parse(const char *text)
{
    char *copy = copy_text(text), *rest = copy;
    bool good = true;
    rule_count = 0;
    for (char *one; good && (one = strsep(&rest, ";"));) {
        if (!one[strspn(one, " \t")])
            continue;
        char *shown = copy_text(one);
        rules = realloc(rules, (rule_count + 1) * sizeof *rules);
        if (!rules)
            abort();
        good = parse_rule(one, &rules[rule_count++]);
        if (!good)
            say(WARN, "VixDiskLib: switch faults: bad rule: %s\n", shown);
        free(shown);
    }
    free(copy);
    return good;
}

static bool due(struct rule *rule, const char *call, const char *path)
{
    if (strcmp(rule->call, call) || (rule->path && !(path && strstr(path, rule->path))))
        return false;
    pthread_mutex_lock(&lock);
    uint64_t turn = ++rule->seen;
    pthread_mutex_unlock(&lock);
    if (turn < rule->at || (rule->times && turn - rule->at >= rule->times))
        return false;
    if (!rule->latch)
        return true;
    int file = open(rule->latch, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
    if (file >= 0)
        close(file);
    return file >= 0;
}

static void act(const struct rule *rule, const char *call)
{
    volatile int *volatile nowhere = NULL;
    switch (rule->action) {
    case DELAY:
        sleep_ms(rule->ms);
        break;
    case HANG:
        for (;;)
            pause();
    case ABORT:
        abort();
    case SEGV:
        *nowhere = 0;
        break;
    case EXIT:
        _exit((int)rule->code);
    case PANIC:
        die(call, "ASSERT bora/lib/vixDiskLib/stand-in.c:%d bugNr=%d", 1, 42);
    default:
        break;
    }
}

VixError faults_apply(const char *call, const char *path, enum damage *damage)
{
    for (size_t i = 0; i < rule_count; i++) {
        struct rule *rule = &rules[i];
        if (!due(rule, call, path))
            continue;
        if (rule->action == FAIL)
            return rule->code;
        if (damage && rule->action >= FLIP)
            *damage = (enum damage)(rule->action - FLIP + FLIPPED);
        act(rule, call);
    }
    return VIX_OK;
}
