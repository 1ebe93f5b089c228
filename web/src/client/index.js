// The public face of the Wadud client library. Types and documentation of every name stand in index.d.ts.

export { WadudCall, connect } from './call.js';
export { listDevices, openDevices, openScreen, watchDevices } from './devices.js';
export { ConnectionError, DeviceError, SignallingError, StateError, WadudError } from './errors.js';
export { scoreOf } from './quality.js';
