import { defineConfig } from "vite";

// Beside a running push (make up): PUSH_URL=http://127.0.0.1:8400 npm run dev
const push = process.env["PUSH_URL"] ?? "http://127.0.0.1:8400";

export default defineConfig({
  build: { outDir: "dist", emptyOutDir: true, assetsInlineLimit: 0, chunkSizeWarningLimit: 600 },
  server: { proxy: { "/ws": { target: push, ws: true }, "/config.json": push, "/v1": push } },
});
