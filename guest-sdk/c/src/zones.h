/* The table of `zones.c`: lines, the last of which is NULL. guest-sdk/calendar/generate.py describes their form. */
#ifndef PORTCULLIS_ZONES_H
#define PORTCULLIS_ZONES_H
#include <stddef.h>
extern const char pc_tzdb[];
extern const char *const pc_zones[];
#endif
