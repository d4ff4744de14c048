# Greets whoever is named, or the whole world.
name=${1:-world}
echo "Helo, $name!"
