/* A library that breaks its promises: what no honest VixDiskLib does, but a wrong one might.
 * Compiled by the tests; -DWITHOUT_WAIT and its like leave a function out. ODDITY in the environment chooses. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef uint64_t Error;
typedef void Log(const char *, va_list);
typedef void Done(void *, Error);
typedef struct { uint64_t offset, length; } Block;
typedef struct { uint32_t count; Block blocks[]; } Blocks;

static Log *log_line, *warn_line, *panic_line;
static int handle;

static int odd(const char *name)
{
    const char *chosen = getenv("ODDITY");
    return chosen && !strcmp(chosen, name);
}

static void say(Log *to, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    to(format, arguments);
    va_end(arguments);
}

Error VixDiskLib_InitEx(uint32_t major, uint32_t minor, Log *log, Log *warn, Log *panic, const char *dir, const char *conf)
{
    (void)major, (void)minor;
    log_line = log, warn_line = warn, panic_line = panic;
    say(log, "libdir %s config %s number %d wide %llu\n", dir, conf, -7, 1ULL << 40);
    say(log, "libgvmomi.so: cannot open shared object file: No such file or directory\n");
    say(warn, "Get CEIP status failed\n");
    say(log, "VDDK_PhoneHome: no answer\r\n");
    return odd("init") ? 16053 : 0;
}
void VixDiskLib_Exit(void) {}
const char *VixDiskLib_ListTransportModes(void) { return "file:nbdssl"; }
char *VixDiskLib_GetErrorText(Error error, const char *locale)
{
    (void)locale;
    return error & 1 ? strdup("odd\nerror") : NULL;
}
void VixDiskLib_FreeErrorText(char *text) { free(text); }
void *VixDiskLib_AllocateConnectParams(void) { return odd("memory") ? NULL : calloc(1, 128); }
void VixDiskLib_FreeConnectParams(void *params) { free(params); }
#ifndef WITHOUT_PREPARE
Error VixDiskLib_PrepareForAccess(void *params, const char *identity) { (void)params, (void)identity; return 6; }
#endif
#ifndef WITHOUT_END
Error VixDiskLib_EndAccess(void *params, const char *identity) { (void)params, (void)identity; abort(); }
#endif
Error VixDiskLib_ConnectEx(void *params, char ro, const char *snapshot, const char *transports, void **out)
{
    (void)ro, (void)snapshot, (void)transports;
    const char *password = ((char **)params)[6];
    say(warn_line, "NBD: password=%s for %s, again %s\n", password, ((char **)params)[1], password);
    *out = &handle;
    return 0;
}
Error VixDiskLib_Disconnect(void *c) { (void)c; return 36; }
Error VixDiskLib_Open(void *c, const char *path, uint32_t flags, void **out)
{
    (void)c, (void)path;
    if (odd("flags"))
        return 20000 + flags;
    if (odd("chatter"))
        for (int i = 0; i < 6000; i++)
            say(log_line, "line %d of very many lines that nobody waits for, %s\n", i, path);
    if (odd("rubbish")) {
        static char rubbish[300000];
        memset(rubbish, 0xfe, sizeof rubbish);
        write(1, rubbish, sizeof rubbish);
        write(2, "\n\x1eten\x1fvddk\x1fno number\n\x1e" "20\n\n\x1e" "20\x1froot\x1fother logger\n", 48);
    }
    if (odd("print"))
        write(1, "munmap_chunk(): invalid pointer\n", 32), abort();
    *out = &handle;
    return odd("thumbprint") ? (say(warn_line, "Failed to verify SSL certificate: actual thumbprint=AA expected=BB"), 1) : 0;
}
Error VixDiskLib_Close(void *h) { (void)h; return 7; }

/* Ends where an unreadable page begins, so that one byte too far is a crash. */
Error VixDiskLib_GetInfo(void *h, void **out)
{
    size_t size = odd("old") ? 56 : 64;
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *info = pages + 4096 - size;
    (void)h;
    mprotect(pages + 4096, 4096, PROT_NONE);
    *(uint64_t *)(info + 24) = 1 << 20;
    *(int *)(info + 32) = 77;
    if (size == 64)
        *(uint32_t *)(info + 56) = 4096, *(uint32_t *)(info + 60) = 8192;
    *out = odd("no info") ? NULL : info;
    return 0;
}
void VixDiskLib_FreeInfo(void *info) { (void)info; }
const char *VixDiskLib_GetTransportMode(void *h) { (void)h; return NULL; }
Error VixDiskLib_ReadAsync(void *h, uint64_t start, uint64_t count, uint8_t *buffer, Done *done, void *data)
{
    (void)h, (void)start;
    if (odd("plain"))
        return 0;
    if (odd("refuse"))
        return 0xABCD000000000000u | 14011;
    memset(buffer, 'x', count * 512);
    done(data, odd("late error") ? 0x700000000u | 16002 : 0);
    if (odd("twice"))
        done(data, 7), done((void *)(uintptr_t)999999, 7);
    return odd("plain but done") ? 0 : 25000;
}
Error VixDiskLib_QueryAllocatedBlocks(void *h, uint64_t start, uint64_t count, uint64_t chunk, Blocks **out)
{
    Blocks *list = calloc(1, sizeof *list + 4 * sizeof(Block));
    (void)h;
    if (odd("query fails"))
        return free(list), getenv("CODE") ? strtoul(getenv("CODE"), NULL, 10) : (*out = calloc(1, 8), 0);
    *out = list;
    list->count = 2;
    list->blocks[0] = (Block){start, chunk}, list->blocks[1] = (Block){start + 2 * chunk, chunk};
    if (odd("none"))
        free(list), *out = NULL;
    if (odd("huge"))
        list->count = 0xffffffffu;
    if (odd("backwards"))
        list->blocks[1].offset = start;
    if (odd("beyond"))
        list->blocks[1].length = count;
    if (odd("empty"))
        list->count = 0;
    return 0;
}
Error VixDiskLib_FreeBlockList(Blocks *list) { free(list); return 0; }
#ifndef WITHOUT_WAIT
Error VixDiskLib_Wait(void *h) { (void)h; return 0; }
#endif
