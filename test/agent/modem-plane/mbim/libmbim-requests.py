"""Prints what libmbim itself writes for requests that mbimcli has no action for: one JSON object of name and hex."""
import ctypes
import json
import uuid

from libmbim_messages import (
    BASIC_CONNECT,
    ERROR,
    SMS,
    TEXT,
    U32,
    USSD,
    bytes_of,
    library,
    pointer_to,
    subscribe_list,
)

ALL, INDEX = 0, 1
INITIATE, CANCEL = 0, 2
CODE = bytes.fromhex("aa180c3602")
ussd = [U32, U32, U32, ctypes.c_char_p, ERROR]
# libmbim numbers context types on its own; this gives the identifier.
library.mbim_uuid_from_context_type.restype = ctypes.c_void_p
internet = library.mbim_uuid_from_context_type(2)
assert bytes(ctypes.cast(internet, ctypes.POINTER(ctypes.c_uint8 * 16)).contents) == uuid.UUID(
    "7e5e2a7e-4e6f-7272-736b-656e7e5e2a7e"
).bytes, "the context type is not internet"

requests = {
    "read all": pointer_to("sms_read_query_new", [U32, U32, U32, ERROR], 0, ALL, 0, None),
    "read 7": pointer_to("sms_read_query_new", [U32, U32, U32, ERROR], 0, INDEX, 7, None),
    "delete 7": pointer_to("sms_delete_set_new", [U32, U32, ERROR], INDEX, 7, None),
    "configuration": pointer_to("sms_configuration_query_new", [ERROR], None),
    "ussd": pointer_to("ussd_set_new", ussd, INITIATE, 15, len(CODE), CODE, None),
    "ussd cancel": pointer_to("ussd_set_new", ussd, CANCEL, 15, 0, None, None),
    "pin": pointer_to("pin_set_new", [U32, U32, TEXT, TEXT, ERROR], 2, 0, b"1234", b"", None),
    "connect": pointer_to(
        "connect_set_new",
        [U32, U32, TEXT, TEXT, TEXT, U32, U32, U32, ctypes.c_void_p, ERROR],
        *[0, 1, "internet.тест".encode(), b"", b"", 0, 2, 2, internet, None],
    ),
    "subscribe": subscribe_list([(BASIC_CONNECT, [2, 3, 9, 10, 12]), (SMS, [2, 5]), (USSD, [1])]),
    "proxy": pointer_to("proxy_control_configuration_set_new", [TEXT, U32, ERROR], b"/dev/cdc-wdm0", 30, None),
    "open": pointer_to("open_new", [U32, U32], 3, 4096),
    "close": pointer_to("close_new", [U32], 3),
}
print(json.dumps({name: bytes_of(pointer).hex() for name, pointer in requests.items()}))
