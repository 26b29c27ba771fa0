import { after } from 'node:test';
import { declareBasicTests, declareErrorTests, whole } from './declare.ts';
import { startJavaDriver } from './install.ts';

const driver = await startJavaDriver();
after(driver.close);

const sdk = driver.sdk('Java SDK', 'legacy');
// The SDK drops the body of a 401 and of a 403, and leaves the challenge to the application.
const dropped = (status: number) => `Authorization error when sending message (${status}`;

declareBasicTests(sdk);
declareErrorTests(sdk, {
  forbidden: () => dropped(403),
  unreachable: whole,
  signedOut: () => `${dropped(401)}, Bearer error="invalid_token", scope="openid agent", resource_metadata="http://`,
  scoped: dropped(403),
});
