/**
 * The models that have a profile, as the kernel shows them on USB. Ids, classes and drivers: ModemManager's udev rules,
 * the kernel's drivers option, qmi_wwan, cdc_ether and huawei_cdc_ncm, and usb-modeswitch-data. None was recorded
 * from a device of ours.
 */
import type { FakeDevice, FakeInterface } from './fake-usb';

const ecm = (net: string): FakeInterface[] => [
  { is: '02/06/00', driver: 'cdc_ether', net },
  { is: '0a/00/00', driver: 'cdc_ether' },
];
const ncm = (net: string): FakeInterface[] => [{ is: '02/0d/00', driver: 'huawei_cdc_ncm', net }];

/** Configurations: 1 RNDIS, 2 ECM, 3 NCM. */
export const hilinkStick = (net: string, chosen = 2): FakeDevice => ({
  id: '12d1:14dc',
  product: 'HUAWEI_MOBILE',
  configurations: {
    1: [
      { is: 'e0/01/03', driver: 'rndis_host', net },
      { is: '0a/00/00', driver: 'rndis_host' },
    ],
    2: ecm(net),
    3: ncm(net.replace('eth', 'wwan')),
  },
  chosen,
});

export const zeroCd: FakeDevice = {
  id: '12d1:1f01',
  product: 'HUAWEI_MOBILE',
  configurations: { 1: [{ is: '08/06/50', driver: 'usb-storage' }] },
};

/** E3372s and E3131 with stick firmware; `first` is the number of its first port. */
export const huaweiStick = (first: number, id = '12d1:1506'): FakeDevice => ({
  id,
  product: 'HUAWEI Mobile',
  configurations: {
    1: [
      { is: 'ff/02/01', driver: 'option', tty: `ttyUSB${first}` },
      { is: 'ff/02/02', driver: 'option', tty: `ttyUSB${first + 1}` },
      { is: '02/0d/00', driver: 'huawei_cdc_ncm', net: `wwan${first}`, control: `cdc-wdm${first}` },
    ],
  },
});

const quectelPorts = (first: number): FakeInterface[] =>
  [0, 1, 2, 3].map(n => ({ is: 'ff/00/00', driver: 'option', tty: `ttyUSB${first + n}` }));

const quectelEcm =
  (id: string, product: string) =>
  (first: number): FakeDevice => ({
    id,
    product,
    configurations: {
      1: [
        ...quectelPorts(first),
        { is: '02/06/00', driver: 'cdc_ether', net: `usb${first}` },
        { is: '0a/00/00' },
      ],
    },
  });
const quectelMbim =
  (id: string, product: string) =>
  (first: number): FakeDevice => ({
    id,
    product,
    configurations: {
      1: [
        ...quectelPorts(first),
        { is: '02/0e/00', driver: 'cdc_mbim', net: `wwan${first}`, control: `cdc-wdm${first}` },
        { is: '0a/00/02', driver: 'cdc_mbim' },
      ],
    },
  });
export const ec25 = quectelEcm('2c7c:0125', 'EC25-AF');
export const eg25g = quectelEcm('2c7c:0125', 'EG25-G');
export const ep06 = quectelMbim('2c7c:0306', 'EP06-E');
export const em12 = quectelMbim('2c7c:0512', 'EM12-G');
export const rm500q = quectelMbim('2c7c:0800', 'RM500Q-GL');
export const rm520n = quectelMbim('2c7c:0801', 'RM520N-GL');
/** One whose driver is QMI, which nothing here speaks; its serial ports do. */
export const em060k: FakeDevice = {
  id: '2c7c:0128',
  product: 'EM060K-GL',
  configurations: {
    1: [
      ...quectelPorts(60).slice(0, 1),
      { is: 'ff/00/00' },
      { is: 'ff/00/00' },
      { is: 'ff/ff/30', driver: 'option', tty: 'ttyUSB63' },
      { is: 'ff/00/40', driver: 'option', tty: 'ttyUSB64' },
      { is: 'ff/ff/40', driver: 'option', tty: 'ttyUSB65' },
      { is: 'ff/ff/50', driver: 'qmi_wwan', net: 'wwan60', control: 'cdc-wdm60' },
    ],
  },
};

export const networkAdapter: FakeDevice = {
  id: '0bda:8153',
  product: 'USB LAN',
  configurations: { 1: ecm('eth9') },
};
export const serialCable: FakeDevice = {
  id: '0403:6001',
  product: 'FT232R',
  configurations: { 1: [{ is: 'ff/ff/ff', driver: 'ftdi_sio', tty: 'ttyUSB90' }] },
};
export const hub = (id: string, ports: number): FakeDevice => ({
  id,
  deviceClass: '09',
  configurations: { 1: [{ is: '09/00/00', driver: 'hub' }] },
  ports,
});
