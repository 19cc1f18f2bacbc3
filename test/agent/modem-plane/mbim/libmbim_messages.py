"""Messages as libmbim writes them. Introspection cannot hand bytes and lists over, so libmbim is called directly."""
import ctypes
import uuid

library = ctypes.CDLL("libmbim-glib.so.4")

BASIC_CONNECT = "a289cc33-bcbb-8b4f-b6b0-133ec2aae6df"
SMS = "533fbeeb-14fe-4467-9f90-33a223e56c3f"
USSD = "e550a0c8-5e82-479e-82f7-10abf4c3351f"

U32 = ctypes.c_uint32
TEXT = ctypes.c_char_p
ERROR = ctypes.c_void_p


class _Bytes(ctypes.Structure):
    _fields_ = [("data", ctypes.POINTER(ctypes.c_uint8)), ("length", ctypes.c_uint)]


class _Entry(ctypes.Structure):
    _fields_ = [("service", ctypes.c_uint8 * 16), ("count", U32), ("cids", ctypes.POINTER(U32))]


def pointer_to(name, types, *arguments):
    """The message that a constructor of libmbim makes; owned by nobody, which a short script can afford."""
    function = library[f"mbim_message_{name}"]
    function.restype = ctypes.c_void_p
    function.argtypes = types
    return function(*arguments)


def bytes_of(pointer):
    set_transaction = library.mbim_message_set_transaction_id
    set_transaction.argtypes = [ctypes.c_void_p, U32]
    set_transaction(pointer, 3)
    made = ctypes.cast(pointer, ctypes.POINTER(_Bytes)).contents
    return bytes(made.data[: made.length])


def subscribe_list(services):
    entries = []
    for service, cids in services:
        entry = _Entry()
        entry.service[:] = uuid.UUID(service).bytes
        entry.count = len(cids)
        entry.cids = (U32 * len(cids))(*cids)
        entries.append(entry)
    pointers = (ctypes.POINTER(_Entry) * len(entries))(*[ctypes.pointer(one) for one in entries])
    types = [U32, ctypes.POINTER(ctypes.POINTER(_Entry)), ERROR]
    return pointer_to("device_service_subscribe_list_set_new", types, len(entries), pointers, None)
