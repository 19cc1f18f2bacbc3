/**
 * Identifiers of the MBIM services and their commands (USB-IF MBIM 1.0, part 10.1; the Microsoft extensions; libmbim's
 * proxy). Only those that this agent or its simulator speaks. Data, no code.
 */
export const SERVICES = {
  basicConnect: 'a289cc33-bcbb-8b4f-b6b0-133ec2aae6df',
  sms: '533fbeeb-14fe-4467-9f90-33a223e56c3f',
  ussd: 'e550a0c8-5e82-479e-82f7-10abf4c3351f',
  msBasicConnectExtensions: '3d01dcc5-fef5-4d05-0d3a-bef7058e9aaf',
  quectel: '11223344-5566-7788-99aa-bbccddeeff11',
  proxyControl: '838cf7fb-8d0d-4d7f-871e-d71dbefbb39b',
} as const;

export const CIDS = {
  deviceCaps: 1,
  subscriberReady: 2,
  radioState: 3,
  pin: 4,
  homeProvider: 6,
  visibleProviders: 8,
  registerState: 9,
  packetService: 10,
  signalState: 11,
  connect: 12,
  provisionedContexts: 13,
  ipConfiguration: 15,
  deviceServices: 16,
  subscribeList: 19,
  packetStatistics: 20,
  smsConfiguration: 1,
  smsRead: 2,
  smsDelete: 4,
  smsStoreStatus: 5,
  ussd: 1,
  lteAttachInfo: 4,
  deviceReset: 10,
  baseStations: 11,
  proxyConfiguration: 1,
  quectelRadioState: 1,
} as const;

/** Context types of CONNECT (part 10.5.12). */
export const CONTEXT_TYPES = {
  none: 'b43f758c-a560-4b46-b35e-c5869641fb54',
  internet: '7e5e2a7e-4e6f-7272-736b-656e7e5e2a7e',
} as const;

/** Bits of a data class; several may be set. */
export const DATA_CLASSES = {
  gprs: 1 << 0,
  edge: 1 << 1,
  umts: 1 << 2,
  hsdpa: 1 << 3,
  hsupa: 1 << 4,
  lte: 1 << 5,
  nrNonStandalone: 1 << 6,
  nrStandalone: 1 << 7,
} as const;
