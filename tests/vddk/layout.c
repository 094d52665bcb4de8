/* The structures as their documentation describes them, laid out by the C compiler of this machine. The test prints
 * size and offsets of each from this file and compares them with the recorded ones and with the binding's. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct { uint32_t cylinders, heads, sectors; } Geometry;
typedef struct {
    char *vmx_spec, *server, *thumbprint;
    long private_use;
    int credential_type;
    union {
        struct { char *user, *password; } user;
        struct { char *cookie, *user, *key; } session;
        struct { char *ticket; } ticket;
    } credentials;
    uint32_t port, nfc_port;
    char *api_version;
    char reserved[8];
    void *state;
    union { struct { char *id, *datastore, *secret; } object; } storage_object;
    int spec_type;
} ConnectParams;
typedef struct {
    Geometry bios, physical;
    uint64_t capacity;
    int adapter, links;
    char *parent_hint, *uuid;
} InfoBefore7;
typedef struct {
    Geometry bios, physical;
    uint64_t capacity;
    int adapter, links;
    char *parent_hint, *uuid;
    uint32_t logical_sector_size, physical_sector_size;
} Info;
typedef struct { uint64_t offset, length; } Block;
typedef struct { uint32_t count; Block blocks[1]; } BlockList;
typedef struct {
    int disk_type, adapter;
    uint16_t hardware_version;
    uint64_t capacity;
    uint32_t logical_sector_size, physical_sector_size;
} CreateParams;

int main(void)
{
    FIELDS
    return 0;
}
