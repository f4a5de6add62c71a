// Swagger UI over the panel's own schema, signed in by the page's session. Its dark colours go with the page's.
const place = document.getElementById("swagger");
const root = document.documentElement;
const follow = () => root.classList.toggle("dark-mode", root.dataset.bsTheme === "dark");
new MutationObserver(follow).observe(root, { attributeFilter: ["data-bs-theme"] });
follow();
window.SwaggerUIBundle({
  url: "/api/v1/schema?format=json",
  dom_id: "#swagger",
  deepLinking: true,
  docExpansion: "none",
  requestInterceptor(request) {
    request.headers["X-CSRFToken"] = place.dataset.csrf;
    return request;
  },
});
