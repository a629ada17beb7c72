// Builds the client together with the files of the speech detector, so that nothing is loaded from
// another server.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const require = createRequire(import.meta.url);

/** The detector's worklet and model, and the runtime that runs it, as files under /vad/. */
function detectorFiles(): Plugin {
  const vad = dirname(require.resolve("@ricky0123/vad-web"));
  const onnx = dirname(createRequire(join(vad, "index.js")).resolve("onnxruntime-web/wasm"));
  const files: [string, string][] = [
    [vad, "vad.worklet.bundle.min.js"],
    [vad, "silero_vad_v5.onnx"],
    [onnx, "ort-wasm-simd-threaded.mjs"],
    [onnx, "ort-wasm-simd-threaded.wasm"],
  ];
  return {
    name: "detector-files",
    generateBundle() {
      for (const [folder, name] of files) {
        this.emitFile({ type: "asset", fileName: `vad/${name}`, source: readFileSync(join(folder, name)) });
      }
    },
    configureServer(server) {
      server.middlewares.use("/vad/", (request, response, next) => {
        const file = files.find(([, name]) => request.url?.startsWith(`/${name}`));
        if (!file) return next();
        response.setHeader("content-type", file[1].endsWith(".wasm") ? "application/wasm" : "text/javascript");
        response.end(readFileSync(join(...file)));
      });
    },
  };
}

export default defineConfig({
  plugins: [detectorFiles()],
  build: { target: "es2022", chunkSizeWarningLimit: 2000, assetsInlineLimit: 0 },
  worker: { format: "es" },
  server: { proxy: { "/v1": { target: "http://127.0.0.1:8420", ws: true }, "/login": "http://127.0.0.1:8420" } },
  test: { include: ["test/**/*.test.ts"] },
} as Parameters<typeof defineConfig>[0]);
