// What Swift cannot import or may not call safely by itself: variadic ioctls, control messages, batched datagram
// calls, and the moments between fork and exec. As little C as possible; each header says why it is here.
#pragma once
#include "host_sandbox.h"
#include "host_socket.h"
#include "host_link.h"
#include "host_file.h"
#include "host_vhost.h"
