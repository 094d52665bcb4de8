/* The binary interface of VixDiskLib on x86-64 Linux: numbers, layouts and functions, asserted one by one. */
#ifndef VIXSIM_ABI_H
#define VIXSIM_ABI_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifndef VIXSIM_ABI
#define VIXSIM_ABI 67 /* 65: leave out what 6.7 introduced */
#endif

#define PUBLIC __attribute__((visibility("default")))
#if VIXSIM_ABI >= 67
#define SINCE_67 PUBLIC
#else
#define SINCE_67 __attribute__((visibility("hidden")))
#endif

typedef uint64_t VixError;
typedef uint64_t Sector;
typedef char Bool;

enum {
    VIX_OK = 0,
    VIX_E_FAIL = 1,
    VIX_E_OUT_OF_MEMORY = 2,
    VIX_E_INVALID_ARG = 3,
    VIX_E_FILE_NOT_FOUND = 4,
    VIX_E_NOT_SUPPORTED = 6,
    VIX_E_FILE_READ_ONLY = 11,
    VIX_E_FILE_ACCESS_ERROR = 13,
    VIX_E_NOT_SUPPORTED_ON_REMOTE_OBJECT = 20,
    VIX_E_BUFFER_TOOSMALL = 24,
    VIX_E_OBJECT_NOT_FOUND = 25,
    VIX_E_AUTHENTICATION_FAIL = 35,
    VIX_E_INVALID_HANDLE = 1000,
    VIX_E_INVALID_AUTHENTICATION_SESSION = 3047,
    VIX_E_HOST_SERVER_NOT_FOUND = 14008,
    VIX_E_HOST_NETWORK_CONN_REFUSED = 14009,
    VIX_E_HOST_SERVER_SHUTDOWN = 14014,
    VIX_E_DISK_NOIO = 16002,
    VIX_E_DISK_OUTOFRANGE = 16007,
    VIX_E_DISK_KEY_NOTFOUND = 16052,
    VIX_E_CANNOT_CONNECT_TO_HOST = 18000,
    VIX_ASYNC = 25000,
    VIX_E_ASYNC_MIXEDMODE_UNSUPPORTED = 26000,
};

enum { SECTOR_SIZE = 512, MIN_CHUNK_SIZE = 128, MAX_CHUNK_NUMBER = 524288 };

enum { CRED_UID = 1, CRED_SESSIONID = 2 };
enum { SPEC_VMX = 0 };
enum { ADAPTER_IDE = 1, ADAPTER_BUSLOGIC = 2, ADAPTER_LSILOGIC = 3, ADAPTER_UNKNOWN = 256 };
enum {
    OPEN_UNBUFFERED = 1,
    OPEN_SINGLE_LINK = 2,
    OPEN_READ_ONLY = 4,
    OPEN_COMPRESSION_MASK = 0x3f0,
};

typedef struct {
    char *vmxSpec;
    char *serverName;
    char *thumbPrint;
    long reserved1;
    int credType;
    union {
        struct {
            char *userName;
            char *password;
        } uid;
        struct {
            char *cookie;
            char *userName;
            char *key;
        } sessionId;
    } creds;
    uint32_t port;
    uint32_t nfcHostPort;
    char *reserved3;
    char reserved4[8];
    void *state;
    union {
        struct {
            char *id;
            char *datastoreMoRef;
            char *ssId;
        } vStorageObjSpec;
    } spec;
    int specType;
} ConnectParams;

typedef struct {
    uint32_t cylinders, heads, sectors;
} Geometry;

typedef struct {
    Geometry biosGeo;
    Geometry physGeo;
    Sector capacity;
    int adapterType;
    int numLinks;
    char *parentFileNameHint;
    char *uuid;
    uint32_t logicalSectorSize;
    uint32_t physicalSectorSize;
} Info;

typedef struct {
    uint64_t offset, length;
} Block;

typedef struct {
    uint32_t numBlocks;
    Block blocks[1];
} BlockList;

typedef struct {
    int diskType;
    int adapterType;
    uint16_t hwVersion;
    Sector capacity;
    uint32_t logicalSectorSize;
    uint32_t physicalSectorSize;
} CreateParams;

#define AT(type, field, offset) _Static_assert(offsetof(type, field) == (offset), #type "." #field)
#define SIZE(type, size) _Static_assert(sizeof(type) == (size), #type)
SIZE(Bool, 1);
SIZE(ConnectParams, 128);
AT(ConnectParams, vmxSpec, 0);
AT(ConnectParams, serverName, 8);
AT(ConnectParams, thumbPrint, 16);
AT(ConnectParams, reserved1, 24);
AT(ConnectParams, credType, 32);
AT(ConnectParams, creds, 40);
AT(ConnectParams, creds.uid.password, 48);
AT(ConnectParams, creds.sessionId.key, 56);
AT(ConnectParams, port, 64);
AT(ConnectParams, nfcHostPort, 68);
AT(ConnectParams, reserved3, 72);
AT(ConnectParams, reserved4, 80);
AT(ConnectParams, state, 88);
AT(ConnectParams, spec, 96);
AT(ConnectParams, specType, 120);
SIZE(Geometry, 12);
SIZE(Info, 64);
AT(Info, physGeo, 12);
AT(Info, capacity, 24);
AT(Info, adapterType, 32);
AT(Info, numLinks, 36);
AT(Info, parentFileNameHint, 40);
AT(Info, uuid, 48);
AT(Info, logicalSectorSize, 56);
AT(Info, physicalSectorSize, 60);
SIZE(Block, 16);
SIZE(BlockList, 24);
AT(BlockList, blocks, 8);
SIZE(CreateParams, 32);
AT(CreateParams, hwVersion, 8);
AT(CreateParams, capacity, 16);
AT(CreateParams, logicalSectorSize, 24);
#undef AT
#undef SIZE

typedef void LogFn(const char *format, va_list arguments);
typedef void CompletionFn(void *data, VixError result);
typedef Bool ProgressFn(void *data, int percent);
typedef void *Connection;
typedef void *Handle;

PUBLIC VixError VixDiskLib_InitEx(uint32_t major, uint32_t minor, LogFn *log, LogFn *warn, LogFn *panic,
                                  const char *libDir, const char *configFile);
PUBLIC VixError VixDiskLib_Init(uint32_t major, uint32_t minor, LogFn *log, LogFn *warn, LogFn *panic,
                                const char *libDir);
PUBLIC void VixDiskLib_Exit(void);
PUBLIC const char *VixDiskLib_ListTransportModes(void);
PUBLIC char *VixDiskLib_GetErrorText(VixError error, const char *locale);
PUBLIC void VixDiskLib_FreeErrorText(char *text);
SINCE_67 ConnectParams *VixDiskLib_AllocateConnectParams(void);
PUBLIC void VixDiskLib_FreeConnectParams(ConnectParams *params);
PUBLIC VixError VixDiskLib_GetConnectParams(Connection connection, ConnectParams **out);
PUBLIC VixError VixDiskLib_Connect(const ConnectParams *params, Connection *out);
PUBLIC VixError VixDiskLib_ConnectEx(const ConnectParams *params, Bool readOnly, const char *snapshotRef,
                                     const char *transportModes, Connection *out);
PUBLIC VixError VixDiskLib_Disconnect(Connection connection);
PUBLIC VixError VixDiskLib_PrepareForAccess(const ConnectParams *params, const char *identity);
PUBLIC VixError VixDiskLib_EndAccess(const ConnectParams *params, const char *identity);
PUBLIC VixError VixDiskLib_Cleanup(const ConnectParams *params, uint32_t *cleaned, uint32_t *remaining);
PUBLIC VixError VixDiskLib_Open(Connection connection, const char *path, uint32_t flags, Handle *out);
PUBLIC VixError VixDiskLib_Close(Handle handle);
PUBLIC VixError VixDiskLib_GetInfo(Handle handle, Info **out);
PUBLIC void VixDiskLib_FreeInfo(Info *info);
PUBLIC const char *VixDiskLib_GetTransportMode(Handle handle);
PUBLIC VixError VixDiskLib_Read(Handle handle, Sector start, Sector count, uint8_t *buffer);
PUBLIC VixError VixDiskLib_Write(Handle handle, Sector start, Sector count, const uint8_t *buffer);
PUBLIC VixError VixDiskLib_ReadAsync(Handle handle, Sector start, Sector count, uint8_t *buffer,
                                     CompletionFn *done, void *data);
PUBLIC VixError VixDiskLib_WriteAsync(Handle handle, Sector start, Sector count, const uint8_t *buffer,
                                      CompletionFn *done, void *data);
PUBLIC VixError VixDiskLib_Flush(Handle handle);
PUBLIC VixError VixDiskLib_Wait(Handle handle);
SINCE_67 VixError VixDiskLib_QueryAllocatedBlocks(Handle handle, Sector start, Sector count, Sector chunk,
                                                  BlockList **out);
SINCE_67 VixError VixDiskLib_FreeBlockList(BlockList *list);
PUBLIC VixError VixDiskLib_ReadMetadata(Handle handle, const char *key, char *buffer, size_t length,
                                        size_t *required);
PUBLIC VixError VixDiskLib_WriteMetadata(Handle handle, const char *key, const char *value);
PUBLIC VixError VixDiskLib_GetMetadataKeys(Handle handle, char *keys, size_t length, size_t *required);
PUBLIC VixError VixDiskLib_Create(Connection connection, const char *path, const CreateParams *params,
                                  ProgressFn *progress, void *data);
PUBLIC VixError VixDiskLib_CreateChild(Handle handle, const char *path, int type, ProgressFn *progress,
                                       void *data);
PUBLIC VixError VixDiskLib_Unlink(Connection connection, const char *path);
PUBLIC VixError VixDiskLib_Grow(Connection connection, const char *path, Sector capacity, Bool geometry,
                                ProgressFn *progress, void *data);
PUBLIC VixError VixDiskLib_Clone(Connection to, const char *toPath, Connection from, const char *fromPath,
                                 const CreateParams *params, ProgressFn *progress, void *data,
                                 Bool overwrite);
PUBLIC VixError VixDiskLib_SpaceNeededForClone(Handle handle, int type, uint64_t *bytes);
PUBLIC VixError VixDiskLib_CheckRepair(Connection connection, const char *path, Bool repair);
PUBLIC VixError VixDiskLib_Attach(Handle parent, Handle child);
PUBLIC VixError VixDiskLib_IsAttachPossible(Handle parent, Handle child);
PUBLIC VixError VixDiskLib_Rename(const char *from, const char *to);
PUBLIC VixError VixDiskLib_Shrink(Handle handle, ProgressFn *progress, void *data);
PUBLIC VixError VixDiskLib_Defragment(Handle handle, ProgressFn *progress, void *data);

#endif
