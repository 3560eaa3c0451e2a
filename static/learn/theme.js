// Light or dark, as chosen on Basin's page. No module, so that nothing is seen in the other one first.
{
  const apply = () => {
    try {
      document.documentElement.dataset.theme = localStorage.getItem("theme") ?? "auto";
    } catch {
      // A browser that keeps nothing has no choice to keep.
    }
  };
  apply();
  addEventListener("storage", apply);
}
