import { join } from 'node:path';
import { installGoSdk, installJavaSdk, installPythonSdk, installPythonSdkV1 } from '../installs.ts';
import { type Driver, startDriver } from './driver.ts';

const here = (name: string) => join(import.meta.dirname, name);

async function startPython(program: string, install = installPythonSdk): Promise<Driver> {
  return startDriver(join(await install(), 'python'), [here(`python/${program}`)]);
}

export const startPythonDriver = () => startPython('driver.py');

export const startFastMcpDriver = () => startPython('fastmcp_driver.py');

export const startPythonV1Driver = () => startPython('v1_driver.py', installPythonSdkV1);

export async function startJavaDriver(): Promise<Driver> {
  return startDriver('java', ['-XX:TieredStopAtLevel=1', '-cp', await installJavaSdk(), here('java/Driver.java')]);
}

export const startGoDriver = async () => startDriver(await installGoSdk());
