/* The text of an error: looked up by the low 16 bits, allocated for the caller. */
#include "sim.h"

#include <stdio.h>
#include <string.h>

static const struct {
    uint16_t code;
    const char *text;
} texts[] = {
    {0, "The operation was successful"},
    {1, "Unknown error"},
    {2, "Memory allocation failed"},
    {3, "One of the parameters was invalid"},
    {4, "A file was not found"},
    {5, "The object is in use"},
    {6, "The operation is not supported"},
    {7, "A file access error occurred"},
    {8, "The file system is full"},
    {9, "The file has an incorrect type"},
    {10, "The operation was canceled"},
    {11, "The file is read-only"},
    {12, "The file already exists"},
    {13, "You do not have access rights to this file"},
    {15, "The file is already in use"},
    {20, "The operation is not supported on remote objects"},
    {21, "The file is too big for the file system"},
    {22, "The file name is not valid"},
    {24, "The buffer is too small"},
    {25, "The object was not found"},
    {26, "The host is not connected"},
    {30, "The disk needs a key"},
    {31, "The operation is already in progress"},
    {32, "The license does not allow this operation"},
    {34, "The host of the virtual machine is disconnected"},
    {35, "Login failed because of invalid credentials"},
    {36, "The connection to the host was lost"},
    {44, "An argument is too big"},
    {1000, "The handle is not valid"},
    {1001, "The handle has the wrong type"},
    {1002, "Too many handles are open"},
    {3014, "The user has insufficient permissions"},
    {3046, "Too many sessions"},
    {3047, "The session is not authenticated"},
    {4000, "The virtual machine was not found"},
    {14006, "The handshake with the NFC server failed"},
    {14007, "A socket could not be created"},
    {14008, "The server could not be found"},
    {14009, "The server refused connection"},
    {14010, "A TCP socket error occurred"},
    {14011, "The TCP connection was lost"},
    {14014, "The server is shutting down"},
    {14015, "The server is not available"},
    {16000, "The disk is not valid"},
    {16002, "A disk read or write failed"},
    {16003, "The disk chain is incomplete"},
    {16006, "The disk needs to be repaired"},
    {16007, "The range is outside of the disk"},
    {16008, "The parent of this disk was modified"},
    {16030, "The disk chain is not valid"},
    {16052, "The key was not found"},
    {18000, "Cannot connect to the host"},
    {25000, "The asynchronous operation was queued"},
    {26000, "Synchronous and asynchronous requests cannot be mixed"},
};

/* Works before InitEx, after Exit and inside callbacks: it is how clients explain what went wrong there. */
char *VixDiskLib_GetErrorText(VixError error, const char *locale)
{
    enum { ROOM = 96 };
    if (locale)
        return NULL;
    char *text = object_new(ERROR_TEXTS, ROOM);
    snprintf(text, ROOM, "Unknown error %u", (unsigned)(error & 0xffff));
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (texts[i].code == (error & 0xffff))
            snprintf(text, ROOM, "%s", texts[i].text);
    return text;
}

void VixDiskLib_FreeErrorText(char *text)
{
    object_free(text, ERROR_TEXTS, __func__);
}
