"""Drives an MBIM modem with libmbim itself, for what mbimcli has no action for: messages, USSD and their events.

Usage: libmbim-session.py DEVICE. Subscribes, reads all messages, asks *100#, deletes the message at index 0, reads again, and
prints one JSON object of what libmbim made of it. Exit code 1 when libmbim found anything wrong.
"""
import ctypes
import json
import sys
from ctypes import POINTER, byref, c_uint8, c_void_p

import gi

gi.require_version("Mbim", "1.0")
from gi.repository import Gio, GLib, Mbim  # noqa: E402

from libmbim_messages import ERROR, SMS, U32, USSD, library, pointer_to, subscribe_list  # noqa: E402

DEADLINE_S = 15
ALL, INDEX = 0, 1
loop = GLib.MainLoop()
result = {}
# Callbacks and the device live as long as the script.
alive = []


class Record(ctypes.Structure):
    _fields_ = [("index", U32), ("status", U32), ("size", U32), ("pdu", POINTER(c_uint8))]


class GError(ctypes.Structure):
    _fields_ = [("domain", U32), ("code", ctypes.c_int), ("message", ctypes.c_char_p)]


def call(name, types, *arguments, restype=ctypes.c_int):
    function = library[name]
    function.argtypes = types
    function.restype = restype
    return function(*arguments)


def checked(name, types, *arguments, restype=ctypes.c_int):
    """A call whose last argument is a GError; ends the script with its words."""
    error = POINTER(GError)()
    value = call(name, [*types, POINTER(POINTER(GError))], *arguments, byref(error), restype=restype)
    if error:
        end(f"{name}: {error.contents.message.decode()}")
    return value


def end(problem=None):
    if problem is not None:
        result.setdefault("error", problem)
    loop.quit()


def address_of(device):
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype = c_void_p
    get.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return get(device.__gpointer__, None)


READY = ctypes.CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)


def command(message, then):
    def ready(source, outcome, _data):
        response = checked(
            "mbim_device_command_finish", [c_void_p, c_void_p], source, outcome, restype=c_void_p
        )
        # 3 | 0x80000000 is a COMMAND_DONE.
        if response and checked("mbim_message_response_get_result", [c_void_p, U32], response, 0x80000003):
            then(response)

    callback = READY(ready)
    alive.append(callback)
    call("mbim_message_set_transaction_id", [c_void_p, U32], message, alive[0].get_next_transaction_id())
    types = [c_void_p, c_void_p, ctypes.c_uint, c_void_p, READY, c_void_p]
    call("mbim_device_command", types, address_of(alive[0]), message, 10, None, callback, None, restype=None)


def octets(data, size):
    return bytes(data[:size]).hex() if size > 0 else ""


def messages(response):
    form, count, cdma = U32(), U32(), c_void_p()
    records = POINTER(POINTER(Record))()
    checked(
        "mbim_message_sms_read_response_parse",
        [c_void_p] * 5,
        response,
        ctypes.addressof(form),
        ctypes.addressof(count),
        ctypes.addressof(records),
        ctypes.addressof(cdma),
    )
    found = [records[at].contents for at in range(count.value)]
    return [{"index": one.index, "status": one.status, "pdu": octets(one.pdu, one.size)} for one in found]


def read_all(then):
    query = pointer_to("sms_read_query_new", [U32, U32, U32, ERROR], 0, ALL, 0, None)
    command(query, lambda response: then(messages(response)))


def subscribed(_response):
    command(pointer_to("sms_configuration_query_new", [ERROR], None), configured)


def configured(response):
    state, form, most, cdma, centre = U32(), U32(), U32(), U32(), ctypes.c_char_p()
    outputs = [ctypes.addressof(one) for one in (state, form, most, cdma, centre)]
    checked("mbim_message_sms_configuration_response_parse", [c_void_p] * 6, response, *outputs)
    result["configuration"] = {"format": form.value, "most": most.value, "centre": centre.value.decode()}

    def first(found):
        result["messages"] = found
        code = bytes.fromhex("aa180c3602")
        types = [U32, U32, U32, ctypes.c_char_p, ERROR]
        command(pointer_to("ussd_set_new", types, 0, 15, len(code), code, None), lambda _response: None)

    read_all(first)


def ussd_answer(message):
    response, session, coding, size, payload = U32(), U32(), U32(), U32(), POINTER(c_uint8)()
    outputs = [ctypes.addressof(one) for one in (response, session, coding, size, payload)]
    checked("mbim_message_ussd_notification_parse", [c_void_p] * 6, message, *outputs)
    result["ussd"] = {
        "response": response.value,
        "coding": coding.value,
        "payload": octets(payload, size.value),
    }
    delete = pointer_to("sms_delete_set_new", [U32, U32, ERROR], INDEX, 0, None)
    command(delete, lambda _response: read_all(last))


def last(found):
    result["left"] = [one["index"] for one in found]
    alive[0].close(5, None, closed)


def closed(device, outcome):
    device.close_finish(outcome)
    end()


def stored(message):
    flags, index = U32(), U32()
    outputs = [ctypes.addressof(one) for one in (flags, index)]
    checked("mbim_message_sms_message_store_status_notification_parse", [c_void_p] * 3, message, *outputs)
    result.setdefault("stored", []).append([flags.value, index.value])


def indicated(_device, message, _data):
    service = call("mbim_message_indicate_status_get_service", [c_void_p], message, restype=U32)
    if service == int(Mbim.Service.USSD):
        ussd_answer(message)
    elif service == int(Mbim.Service.SMS):
        stored(message)


def opened(device, outcome):
    device.open_full_finish(outcome)
    callback = READY(indicated)
    alive.append(callback)
    gobject = ctypes.CDLL("libgobject-2.0.so.0")
    connect = gobject.g_signal_connect_data
    connect.argtypes = [c_void_p, ctypes.c_char_p, READY, c_void_p, c_void_p, ctypes.c_int]
    connect(address_of(device), b"device-indicate-status", callback, None, None, 0)
    command(subscribe_list([(SMS, [2, 5]), (USSD, [1])]), subscribed)


def made(_source, outcome):
    device = Mbim.Device.new_finish(outcome)
    alive.append(device)
    device.open_full(Mbim.DeviceOpenFlags.NONE, 10, None, opened)


Mbim.Device.new(Gio.File.new_for_path(sys.argv[1]), None, made)
GLib.timeout_add_seconds(DEADLINE_S, lambda: end("deadline"))
loop.run()
print(json.dumps(result))
sys.exit(1 if "error" in result else 0)
