"""From a lab's recording to samples in FaceLift's layout."""
