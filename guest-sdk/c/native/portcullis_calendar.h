#include "../include/portcullis_calendar.h"
