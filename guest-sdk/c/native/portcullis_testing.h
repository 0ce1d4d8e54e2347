#include "../include/portcullis_testing.h"
