"""What people run instead of this service, each as its users would write it well; a file each."""
